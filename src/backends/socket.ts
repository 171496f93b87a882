/**
 * The `socket` chardev over unix and inet streams.
 *
 *   server: listening -> a client comes -> connected -> it leaves -> listening
 *   client: connecting -> connected -> the server leaves -> (reconnect-ms later) connecting
 *   taken over from a predecessor: waiting -> begin() -> connected, or as above
 *
 * One connection at a time: while it lasts, other clients wait in the listener's queue. A client
 * that hung up while input of it is still unread makes room for the next one.
 */
import { Descriptor } from "../native/descriptor.ts";
import { type EventLoop, Events, monotonicTime, type Timer } from "../native/event_loop.ts";
import {
  accept,
  acceptNext,
  boundAddress,
  connect,
  endConnection,
  isListening,
  listen,
  peerAddress,
  receive,
  send,
  type SocketAddress,
} from "../native/socket.ts";
import { SystemError } from "../native/errors.ts";
import { OwnFile } from "../process/own_file.ts";
import {
  Chardev,
  type ChardevEnvironment,
  ChardevError,
  type ChardevState,
  type NamedDescriptor,
} from "./chardev.ts";
import type {
  ChardevAddress,
  ChardevBackendOptions,
  ChardevOptions,
  SocketRole,
} from "./chardev_options.ts";
import { addressOf, describeAddress, describeBound, takeSocket } from "./socket_address.ts";
import { ByteStream } from "./stream.ts";

/** After a client could not be accepted. */
const ACCEPT_AGAIN_NS = 1_000_000_000n;

type SocketOptions = Extract<ChardevBackendOptions, { kind: "socket" }>;

export class SocketChardev extends Chardev {
  readonly #environment: ChardevEnvironment;
  readonly #role: SocketRole;
  #address: SocketAddress = { kind: "unix", path: "" };
  #listener: Descriptor | undefined;
  /** The file of a predecessor's socket, which may keep it: this device's from {@linkcode begin} on. */
  #adoptedPath: string | undefined;
  /** The socket file that this device made, and removes unless somebody replaced it. */
  #socketFile: OwnFile | undefined;
  /** The socket's file has another name now. */
  readonly #renamed = (path: string) => this.#address = { ...this.#address, kind: "unix", path };
  #accepting: Disposable | undefined;
  #connection: Descriptor | undefined;
  #stream: ByteStream | undefined;
  #passengers: Descriptor[] = [];
  #retry: Timer | undefined;
  /** A connection that is used from {@linkcode begin} on; `adopted`: a predecessor's. */
  #waiting: { readonly connection: Descriptor; readonly adopted: boolean } | undefined;
  /** A predecessor had this device. */
  #continues = false;
  #clientsHeld = false;
  #disposed = false;
  #toldUnconnected = false;

  private constructor(
    environment: ChardevEnvironment,
    options: ChardevOptions,
    socket: SocketOptions,
  ) {
    super(options, options.cpr && environment.takesOver());
    this.#environment = environment;
    this.#role = socket.role;
  }

  /**
   * Listens or connects as `socket` says. With `wait`, returns when the first client is there; a
   * client with `reconnect-ms` does not wait for its server.
   */
  static async create(
    environment: ChardevEnvironment,
    options: ChardevOptions,
    socket: SocketOptions,
  ): Promise<SocketChardev> {
    const chardev = new SocketChardev(environment, options, socket);
    try {
      await chardev.#start(socket.address);
      return chardev;
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
  }

  get filename(): string {
    const state = this.#connection === undefined ? "disconnected:" : "";
    const role = this.#role.kind === "server" ? ",server=on" : "";
    if (this.#connection === undefined || this.#address.kind === "unix") {
      return `${state}${describeAddress(this.#address, this.#listener)}${role}`;
    }
    const { fd } = this.#connection;
    return `tcp:${describeBound(boundAddress(fd))}${role} <-> ${describeBound(peerAddress(fd))}`;
  }

  override descriptors(): readonly NamedDescriptor[] {
    const own = [...super.descriptors()];
    if (this.#listener !== undefined) own.push(this.named("listener", this.#listener.fd));
    if (this.#connection !== undefined) own.push(this.named("connection", this.#connection.fd));
    return own;
  }

  override restore(state: ChardevState | undefined): void {
    this.#continues = state !== undefined;
    if (this.#continues || !this.#waiting?.adopted) return;
    // Nobody knows what the client has been told: it has to connect again.
    this.#waiting.connection[Symbol.dispose]();
    this.#waiting = undefined;
  }

  override begin(): void {
    if (this.begun) return;
    if (this.#adoptedPath !== undefined) {
      this.#socketFile = OwnFile.at(this.#adoptedPath, this.#renamed);
    }
    this.#adoptedPath = undefined;
    // Output that waits goes out when the device begins: the connection has to be there by then.
    const connected = this.#useWaiting();
    super.begin();
    if (connected) return;
    if (this.#role.kind === "server" || this.#role.reconnectMs > 0) this.#awaitPeer(0);
    else if (!this.#continues) void this.#reconnect();
  }

  override caretakerDescriptors(): readonly NamedDescriptor[] {
    const log = super.caretakerDescriptors();
    // The connection of a device that does not survive ends with the execve.
    if (!this.cpr || this.#connection === undefined) return log;
    return [...log, this.named("input", this.#connection.fd)];
  }

  override takeDescriptors(): Descriptor[] {
    return this.#passengers.splice(0);
  }

  /** Ends the connection, as if the other side had. */
  disconnect(): void {
    if (this.#connection === undefined) return;
    this.#stream?.[Symbol.dispose]();
    this.#stream = undefined;
    this.#connection[Symbol.dispose]();
    this.#connection = undefined;
    this.#dropPassengers();
    this.setOpen(false);
    this.#awaitPeer();
  }

  override holdClients(): void {
    this.#clientsHeld = true;
    this.#accepting?.[Symbol.dispose]();
    this.#accepting = undefined;
    this.#retry?.disarm();
  }

  override suspend(): void {
    this.holdClients();
    super.suspend();
  }

  override resume(): void {
    super.resume();
    if (!this.#clientsHeld) return;
    this.#clientsHeld = false;
    if (this.#connection === undefined) this.#awaitPeer(0);
  }

  protected override leaveNames(): void {
    this.#socketFile?.leave();
    this.#socketFile = undefined;
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    return this.#stream?.write(bytes) ?? bytes.length;
  }

  protected override outputWanted(): void {
    this.#stream?.awaitWritable();
  }

  protected override streams(suspended: boolean): void {
    this.#stream?.suspend(suspended);
  }

  protected override inputWanted(): void {
    this.#stream?.resume();
  }

  override [Symbol.dispose](): void {
    this.#disposed = true;
    this.#accepting?.[Symbol.dispose]();
    this.#retry?.[Symbol.dispose]();
    this.#waiting?.connection[Symbol.dispose]();
    this.disconnect();
    this.#listener?.[Symbol.dispose]();
    this.#removeSocketFile();
    super[Symbol.dispose]();
  }

  async #start(address: ChardevAddress): Promise<void> {
    const { adopt } = this.#environment;
    this.#listener = adopt(`chardev/${this.id}/listener`, 0);
    const connection = adopt(`chardev/${this.id}/connection`, 0);
    if (connection !== undefined) this.#waiting = { connection, adopted: true };
    if (address.kind === "unix" || address.kind === "inet") {
      this.#address = address;
      if (this.#role.kind === "server") {
        const adopted = this.#listener !== undefined;
        this.#listener ??= await listen(address);
        if (address.kind === "unix" && !address.abstract) {
          if (!adopted) this.#socketFile = OwnFile.made(address.path, this.#renamed);
          else if (this.begun) this.#socketFile = OwnFile.at(address.path, this.#renamed);
          else this.#adoptedPath = address.path;
        }
      }
    } else if (this.#listener !== undefined || connection !== undefined) {
      const adopted = this.#listener ?? connection;
      if (adopted !== undefined) this.#address = addressOf(adopted.fd);
    } else {
      const socket = takeSocket(this.#environment, address);
      this.#address = addressOf(socket.fd);
      if (this.#role.kind === "client") this.#waiting = { connection: socket, adopted: false };
      else this.#listener = socket;
      if (this.#role.kind === "server" && !isListening(socket.fd)) {
        const name = address.kind === "fd" ? address.fd : address.name;
        throw new ChardevError(`File descriptor '${name}' is not a listening socket`);
      }
    }
    if (!this.begun || this.#useWaiting()) return;
    if (this.#role.kind === "server" && this.#role.wait && this.#listener !== undefined) {
      this.#environment.tell(`info: QEMU waiting for connection on: ${this.filename}`);
      return this.#connected(await acceptNext(this.#listener.fd));
    }
    if (this.#role.kind === "client" && this.#role.reconnectMs === 0) {
      return this.#connected(await connect(this.#address));
    }
    this.#awaitPeer(0);
  }

  /** Uses the connection that is there already. False if there is none. */
  #useWaiting(): boolean {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#connected(waiting.connection);
    return waiting !== undefined;
  }

  /** Waits for the next client, or connects again after `delayMs`. */
  #awaitPeer(delayMs?: number): void {
    if (this.#disposed || this.#clientsHeld) return;
    const { loop } = this.#environment;
    if (this.#listener !== undefined) {
      this.#accepting ??= loop.watch(this.#listener.fd, Events.readable, () => this.#accept());
    } else if (this.#role.kind === "client" && this.#role.reconnectMs > 0) {
      this.#retry ??= loop.timer(() => void this.#reconnect());
      this.#retry.arm(monotonicTime() + BigInt(delayMs ?? this.#role.reconnectMs) * 1_000_000n);
    }
  }

  #accept(): void {
    if (this.#listener === undefined) return;
    let connection: Descriptor | undefined;
    try {
      connection = accept(this.#listener.fd);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // Too many open files, say. The client still waits, so look again only after a while.
      this.#accepting?.[Symbol.dispose]();
      this.#accepting = undefined;
      this.#retry ??= this.#environment.loop.timer(() => this.#awaitPeer());
      this.#retry.arm(monotonicTime() + ACCEPT_AGAIN_NS);
      return;
    }
    if (connection === undefined) return;
    this.disconnect();
    this.#connected(connection);
  }

  async #reconnect(): Promise<void> {
    let connection: Descriptor;
    try {
      connection = await connect(this.#address);
    } catch (error) {
      if (this.#disposed) return;
      this.#tellUnconnected(error);
      return this.#awaitPeer();
    }
    if (this.#disposed || this.#clientsHeld) return connection[Symbol.dispose]();
    this.#connected(connection);
  }

  /** Once, until a connection has been there: it may be tried for ever. */
  #tellUnconnected(error: unknown): void {
    if (this.#toldUnconnected) return;
    this.#toldUnconnected = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#environment.tell(`Unable to connect character device ${this.id}: ${reason}`);
  }

  #connected(connection: Descriptor): void {
    const { fd } = connection;
    this.#toldUnconnected = false;
    const loop: EventLoop = this.#environment.loop;
    this.#accepting?.[Symbol.dispose]();
    this.#accepting = undefined;
    this.#connection = connection;
    this.#stream = new ByteStream(loop, {
      input: fd,
      output: fd,
      read: (buffer) => this.#receive(connection, buffer),
      write: (bytes) => send(fd, bytes),
      endReading: () => endConnection(fd),
    }, {
      capacity: () => this.capacity,
      received: (bytes) => this.deliver(bytes),
      ended: () => this.disconnect(),
      hungUp: () => this.#listener === undefined ? this.disconnect() : this.#awaitPeer(),
      writable: () => this.writableAgain(),
    });
    this.setOpen(true);
    this.#stream?.resume();
  }

  #receive(connection: Descriptor, buffer: Uint8Array<ArrayBuffer>): number | undefined {
    const received = receive(connection.fd, buffer);
    if (received === undefined) return undefined;
    if (received.passengers.length > 0) {
      this.#dropPassengers();
      this.#passengers.push(...received.passengers);
    }
    return received.length;
  }

  #removeSocketFile(): void {
    const file = this.#socketFile;
    this.#socketFile = undefined;
    try {
      file?.[Symbol.dispose]();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#environment.tell(`the socket's file '${file?.path}' stays: ${error.message}`);
    }
  }

  #dropPassengers(): void {
    for (const passenger of this.#passengers.splice(0)) passenger[Symbol.dispose]();
  }
}
