/**
 * Frames over a stream socket, each behind its length: a connection to passt, to another monitor, or from
 * one.
 *
 *   client: connect -> connected -> lost -> wait reconnect-ms -> connect ...   (0: stays lost)
 *   server: listen -> connected -> lost -> listen ...
 *
 * What goes wrong here ends the connection, and nothing else. After disposal nothing happens any more: a
 * connection that comes then is closed.
 */
import { asFd, Descriptor, type Fd, isOpen } from "../../native/descriptor.ts";
import { contain, type EventLoop, monotonicTime, type Timer } from "../../native/event_loop.ts";
import type { NetworkPort } from "../../native/network.ts";
import { setNonBlocking } from "../../native/file.ts";
import { connect, listen, peerAddress, type SocketAddress } from "../../native/socket.ts";
import type { NetworkAddress } from "../../configuration/network.ts";
import { faultText } from "../../native/faults.ts";
import { ClientListener } from "../client_listener.ts";
import { keptName, type NetworkBackend, noAbilities } from "./backend.ts";

export interface StreamConfig {
  readonly server: boolean;
  readonly address: NetworkAddress;
  /** Milliseconds; 0: a lost connection is not made again. */
  readonly reconnectMs: number;
}

/** What a stream backend needs from outside. */
export interface StreamEnvironment {
  readonly loop: EventLoop;
  readonly adopt: (name: string, id: number) => Descriptor | undefined;
  /** The descriptor that a monitor gave this name. */
  readonly takeNamedDescriptor: (name: string) => Descriptor | undefined;
  readonly report: (message: string) => void;
}

const NS_PER_MS = 1_000_000n;
/** Numbers of the kept descriptors: the connection, the listening socket. */
const KEPT_CONNECTION = 0;
const KEPT_LISTENER = 1;

/** A stream of frames. */
export class StreamBackend implements NetworkBackend {
  readonly id: string;
  readonly abilities = noAbilities;
  readonly pairs = 1;
  readonly #config: StreamConfig;
  readonly #environment: StreamEnvironment;
  readonly #timer: Timer;
  #adopted = false;
  #connection: Descriptor | undefined;
  #listener: Descriptor | undefined;
  #clients: ClientListener | undefined;
  #connecting = false;
  #disposed = false;
  #portChanged: (pair: number) => void = () => {};

  private constructor(id: string, config: StreamConfig, environment: StreamEnvironment) {
    this.id = id;
    this.#config = config;
    this.#environment = environment;
    this.#timer = environment.loop.timer(
      () => void this.#reconnect().catch((fault) => this.#fail(fault)),
      (fault) => this.#fail(fault),
    );
  }

  /** Connects, or begins to listen. A client that does not reconnect fails if nobody is there. */
  static async open(
    id: string,
    config: StreamConfig,
    environment: StreamEnvironment,
  ): Promise<StreamBackend> {
    const backend = new StreamBackend(id, config, environment);
    try {
      await backend.#begin();
      return backend;
    } catch (error) {
      backend[Symbol.dispose]();
      throw error;
    }
  }

  get adopted(): boolean {
    return this.#adopted;
  }

  get description(): string {
    return `type=stream,${this.#state()}`;
  }

  /** Whom it is connected to, or what it waits for. */
  #state(): string {
    const { address, server, reconnectMs } = this.#config;
    if (this.#connection === undefined) {
      return server ? "listening" : reconnectMs > 0 ? "connecting" : "";
    }
    if (address.kind === "fd") return `fd=${this.#connection.fd}`;
    if (address.kind === "unix") return `unix:${address.path}`;
    const peer = peerAddress(this.#connection.fd);
    return peer.kind === "inet"
      ? `tcp:${peer.v6 ? `[${peer.host}]` : peer.host}:${peer.port}`
      : `unix:${peer.path}`;
  }

  port(): NetworkPort {
    return this.#connection ? { kind: "stream", fd: this.#connection.fd } : { kind: "none" };
  }

  set portChanged(listener: (pair: number) => void) {
    this.#portChanged = listener;
  }

  lost(): void {
    this.#disconnect();
    if (this.#disposed) return;
    if (this.#clients) this.#clients.accepting = true;
    else this.#tryAgain();
  }

  /** What was done for the other side has failed: it is as if that had gone. */
  #fail(fault: unknown): void {
    this.#environment.report(`-netdev stream,id=${this.id}: disconnected: ${faultText(fault)}`);
    this.lost();
  }

  #disconnect(): void {
    using _ = this.#connection;
    this.#connection = undefined;
    // Before the descriptor is closed: its number may be another one's at once.
    this.#portChanged(0);
  }

  #connected(connection: Descriptor): void {
    this.#connection = connection;
    contain(() => this.#portChanged(0), (fault) => this.#fail(fault));
  }

  set inUse(_on: boolean) {}
  setHeaderSize(): void {}
  setOffload(): void {}
  setActivePairs(): void {}

  descriptors(): { name: string; id: number; fd: Fd }[] {
    const name = keptName(this.id);
    return [[KEPT_CONNECTION, this.#connection], [KEPT_LISTENER, this.#listener]]
      .flatMap(([id, descriptor]) =>
        descriptor instanceof Descriptor ? [{ name, id: Number(id), fd: descriptor.fd }] : []
      );
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#portChanged = () => {};
    this.#clients?.[Symbol.dispose]();
    this.#timer[Symbol.dispose]();
    this.#connection?.[Symbol.dispose]();
    this.#listener?.[Symbol.dispose]();
  }

  async #begin(): Promise<void> {
    const { adopt } = this.#environment;
    const { server, address, reconnectMs } = this.#config;
    this.#connection = adopt(keptName(this.id), KEPT_CONNECTION);
    this.#listener = adopt(keptName(this.id), KEPT_LISTENER);
    this.#adopted = this.#connection !== undefined;
    if (address.kind === "fd") {
      this.#connection ??= this.#given(address.name);
      setNonBlocking(this.#connection.fd, true);
    } else if (server) {
      this.#listener ??= await listen(socketAddress(address));
      this.#clients = this.#listen(this.#listener);
      if (!this.#connection) this.#clients.accepting = true;
    } else if (!this.#connection) {
      try {
        this.#connection = await connect(socketAddress(address));
      } catch (error) {
        if (reconnectMs === 0) throw error;
        this.#tryAgain();
      }
    }
  }

  #given(name: string): Descriptor {
    if (!/^[0-9]+$/.test(name)) {
      const descriptor = this.#environment.takeNamedDescriptor(name);
      if (descriptor) return descriptor;
      throw new Error(`File descriptor named '${name}' has not been found`);
    }
    if (!isOpen(Number(name))) {
      throw new Error(`-netdev stream,id=${this.id}: descriptor ${name} is not open`);
    }
    return new Descriptor(asFd(Number(name)));
  }

  #listen(listener: Descriptor): ClientListener {
    const { loop, report } = this.#environment;
    const clients = new ClientListener(loop, listener.fd, {
      accepted: (connection) => {
        clients.accepting = false;
        this.#connected(connection);
      },
      refused: (reason) => report(`-netdev stream,id=${this.id}: clients are refused: ${reason}`),
      failed: (fault) => this.#fail(fault),
    });
    return clients;
  }

  #tryAgain(): void {
    const { reconnectMs } = this.#config;
    if (reconnectMs === 0) {
      this.#environment.report(`-netdev stream,id=${this.id}: the connection was closed`);
      return;
    }
    this.#timer.arm(monotonicTime() + BigInt(reconnectMs) * NS_PER_MS);
  }

  async #reconnect(): Promise<void> {
    const { address } = this.#config;
    if (address.kind === "fd" || this.#connecting || this.#connection) return;
    this.#connecting = true;
    let connection: Descriptor;
    try {
      connection = await connect(socketAddress(address));
    } catch {
      if (!this.#disposed) this.#tryAgain();
      return;
    } finally {
      this.#connecting = false;
    }
    if (this.#disposed) connection[Symbol.dispose]();
    else this.#connected(connection);
  }
}

function socketAddress(address: Exclude<NetworkAddress, { kind: "fd" }>): SocketAddress {
  return address;
}
