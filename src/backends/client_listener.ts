/**
 * Takes clients of a listening socket, one after the other, while somebody wants them:
 *
 *   holding  -> accepting = true  -> a client comes -> accepted()
 *            <- accepting = false
 *   accepting, and no descriptor is left -> the client is refused: accepted by way of the loop's spare
 *            descriptor, and closed (one that stays in the queue would be reported without end)
 *   accepting, and something else is wrong -> resting -> a second later -> accepting
 *
 * What this needs is there from the start: it works when nothing can be had any more.
 */
import {
  type EventLoop,
  Events,
  monotonicTime,
  type Timer,
  type Watch,
} from "../native/event_loop.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { Errno, errnoMessage, SystemError } from "../native/errors.ts";
import { accept } from "../native/socket.ts";

/** How long, in ns, nobody is accepted after that has failed. */
const REST_NS = 1_000_000_000n;

/** Errors of a connection that ended before it was accepted (accept(2)): the next one is as good. */
const lostConnections: ReadonlySet<number> = new Set<number>([Errno.ECONNABORTED, Errno.EPROTO]);
const noDescriptors: ReadonlySet<number> = new Set<number>([Errno.EMFILE, Errno.ENFILE]);

/** Who wants clients. */
export interface ClientHandler {
  /** A client has come; the connection is the handler's. */
  accepted(connection: Descriptor): void;
  /** Why clients are not served now. The first of several in a row. */
  refused(reason: string): void;
  /** What was done for a client has failed. */
  failed(fault: unknown): void;
}

/** Accepts clients of one listening socket, which stays its owner's. */
export class ClientListener implements Disposable {
  readonly #loop: EventLoop;
  readonly #socket: Fd;
  readonly #handler: ClientHandler;
  readonly #watch: Watch;
  readonly #rest: Timer;
  #accepting = false;
  #refusing = false;
  #resting = false;

  /** It begins with accepting nobody. */
  constructor(loop: EventLoop, socket: Fd, handler: ClientHandler) {
    this.#loop = loop;
    this.#socket = socket;
    this.#handler = handler;
    const failed = (fault: unknown) => handler.failed(fault);
    this.#watch = loop.watch(socket, 0, () => this.#accept(), failed);
    this.#rest = loop.timer(() => this.#apply(), failed);
  }

  /** Whether clients are wanted. Those who come meanwhile wait in the socket's queue. */
  set accepting(on: boolean) {
    if (on === this.#accepting) return;
    this.#accepting = on;
    this.#apply();
  }

  [Symbol.dispose](): void {
    this.#accepting = false;
    this.#rest[Symbol.dispose]();
    this.#watch[Symbol.dispose]();
  }

  #apply(): void {
    this.#rest.disarm();
    this.#resting = false;
    try {
      this.#watch.update(this.#accepting ? Events.readable : 0);
    } catch (error) {
      this.#restFrom(error);
    }
  }

  #accept(): void {
    if (!this.#accepting || this.#resting) return;
    let connection: Descriptor | undefined;
    try {
      connection = accept(this.#socket);
    } catch (error) {
      return this.#notAccepted(error);
    }
    if (connection === undefined) return;
    this.#refusing = false;
    this.#handler.accepted(connection);
  }

  #notAccepted(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    if (lostConnections.has(error.errno)) return;
    if (!noDescriptors.has(error.errno) || !this.#refuseClient()) return this.#restFrom(error);
    this.#report(errnoMessage(error.errno));
  }

  /** Takes the next client out of the queue and disconnects it. False if that cannot be done either. */
  #refuseClient(): boolean {
    try {
      this.#loop.spareDescriptor.spend(() => accept(this.#socket)?.[Symbol.dispose]());
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return false;
    }
  }

  /** Accepts nobody for a while. */
  #restFrom(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    this.#report(error.message);
    this.#resting = true;
    this.#rest.arm(monotonicTime() + REST_NS);
    try {
      this.#watch.update(0);
    } catch (another) {
      // It is reported until it can be changed: that costs time, and nothing else.
      if (!(another instanceof SystemError)) throw another;
    }
  }

  #report(reason: string): void {
    if (this.#refusing) return;
    this.#refusing = true;
    this.#handler.refused(reason);
  }
}
