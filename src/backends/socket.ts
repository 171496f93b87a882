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
import { monotonicTime, type Timer } from "../native/event_loop.ts";
import {
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
import { faultText } from "../native/faults.ts";
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
} from "../configuration/chardev.ts";
import { ClientListener } from "./client_listener.ts";
import { addressOf, describeAddress, describeBound, takeSocket } from "./socket_address.ts";
import { ByteStream } from "./stream.ts";

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
  #clients: ClientListener | undefined;
  #connection: Descriptor | undefined;
  #stream: ByteStream | undefined;
  #passengers: Descriptor[] = [];
  readonly #retry: Timer;
  /** A connection that is used from {@linkcode begin} on; `adopted`: a predecessor's. */
  #waiting: { readonly connection: Descriptor; readonly adopted: boolean } | undefined;
  /** A predecessor had this device. */
  #continues = false;
  #clientsHeld = false;
  #connecting = false;
  #disposed = false;
  #unconnectedReported = false;

  private constructor(
    environment: ChardevEnvironment,
    options: ChardevOptions,
    socket: SocketOptions,
  ) {
    super(environment, options, options.cpr && environment.takesOver());
    this.#environment = environment;
    this.#role = socket.role;
    this.#retry = environment.loop.timer(
      () => void this.#reconnect().catch((fault) => this.fail(fault)),
      (fault) => this.fail(fault),
    );
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
    // Nobody knows what the client has received: it has to connect again.
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
    else if (!this.#continues) this.#retry.arm(0n);
  }

  override interimDescriptors(): readonly NamedDescriptor[] {
    const log = super.interimDescriptors();
    // The connection of a device that does not survive ends with the execve.
    if (!this.cpr || this.#connection === undefined) return log;
    return [...log, this.named("input", this.#connection.fd)];
  }

  override takeDescriptors(): Descriptor[] {
    return this.#passengers.splice(0);
  }

  /** Ends the connection, as if the other side had. */
  override disconnect(): void {
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
    this.#accept(false);
    this.#retry.disarm();
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
    this.#clients?.[Symbol.dispose]();
    this.#retry[Symbol.dispose]();
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
    const role = this.#role;
    const first = this.begun && this.#waiting === undefined && role.kind === "server" && role.wait
      ? await this.#firstClient()
      : undefined;
    if (first !== undefined) this.#waiting = { connection: first, adopted: false };
    this.#clients = this.#listener && this.#listen(this.#listener);
    if (!this.begun || this.#useWaiting()) return;
    if (this.#role.kind === "client" && this.#role.reconnectMs === 0) {
      return this.#connected(await connect(this.#address));
    }
    this.#awaitPeer(0);
  }

  /** Waits for somebody to connect, if this listens. */
  async #firstClient(): Promise<Descriptor | undefined> {
    if (this.#listener === undefined) return undefined;
    this.#environment.report(`info: QEMU waiting for connection on: ${this.filename}`);
    return await acceptNext(this.#listener.fd);
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
    if (this.#clients !== undefined) this.#accept(true);
    else if (this.#role.kind === "client" && this.#role.reconnectMs > 0) {
      this.#retry.arm(monotonicTime() + BigInt(delayMs ?? this.#role.reconnectMs) * 1_000_000n);
    }
  }

  #accept(on: boolean): void {
    if (this.#clients !== undefined) this.#clients.accepting = on;
  }

  #listen(listener: Descriptor): ClientListener {
    const { loop, report } = this.#environment;
    return new ClientListener(loop, listener.fd, {
      accepted: (connection) => {
        this.disconnect();
        this.#connected(connection);
      },
      refused: (reason) => report(`chardev '${this.id}': clients are refused: ${reason}`),
      failed: (fault) => this.fail(fault),
    });
  }

  async #reconnect(): Promise<void> {
    if (this.#connecting || this.#connection !== undefined) return;
    this.#connecting = true;
    let connection: Descriptor;
    try {
      connection = await connect(this.#address);
    } catch (error) {
      if (this.#disposed) return;
      this.#reportUnconnected(error);
      return this.#awaitPeer();
    } finally {
      this.#connecting = false;
    }
    if (this.#disposed || this.#clientsHeld) return connection[Symbol.dispose]();
    this.#connected(connection);
  }

  /** Once, until a connection has been there: it may be tried for ever. */
  #reportUnconnected(error: unknown): void {
    if (this.#unconnectedReported) return;
    this.#unconnectedReported = true;
    this.#environment.report(
      `Unable to connect character device ${this.id}: ${faultText(error)}`,
    );
  }

  #connected(connection: Descriptor): void {
    const { fd } = connection;
    this.#unconnectedReported = false;
    this.#accept(false);
    this.#connection = connection;
    this.#stream = new ByteStream(this.#environment.loop, {
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
      failed: (fault) => this.fail(fault),
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
      this.#environment.report(`the socket's file '${file?.path}' stays: ${error.message}`);
    }
  }

  #dropPassengers(): void {
    for (const passenger of this.#passengers.splice(0)) passenger[Symbol.dispose]();
  }
}
