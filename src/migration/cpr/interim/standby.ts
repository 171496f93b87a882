/**
 * cpr-exec with a file and a command that may or may not start a molt, such as a script: the guest's state
 * is in the file, and an interim monitor is on standby. It has built the machine and has the file open, runs
 * nothing and holds no image's lock. The first molt that answers takes the guest from there; if none does,
 * the file is all that there is, as with QEMU.
 *
 *   process P (old)              interim monitor (standby)        process P (script, molt, QEMU)
 *   starts it, hands over
 *   descriptors, the file    ->  builds the machine
 *   stops the guest, state into
 *   the file; its digest into
 *   the record; execve ........................................>  molt: its file has that digest
 *                                                             <-  one byte: ANSWER
 *                                loads the file; the flag: taken
 *                                the file is void; the guest runs
 *                                                             <-  READY, and so on (protocol.ts)
 *
 * Who has the guest is one flag (../ownership.ts), which changes once. SIGKILL of any process changes nothing
 * of it:
 *
 *   undecided   nobody runs the guest, and the file says what it is. Whoever wants to load the file and knows
 *               the flag decides `kept` before
 *   kept        the file's: P, because it could not execute the command and goes on itself; a molt that loads
 *               the file; the interim monitor, which ends: nobody answered in time, or the way back is closed
 *   taken       the interim monitor's, from before the guest runs there: the file is void. Its first bytes
 *               say so to programs that do not know the flag, until the successor has the guest
 *
 * A QEMU, and a molt that waits for `migrate-incoming`, know or want none of it: the file is loaded as ever.
 * A QEMU hands on what it got to its own successor. A molt there knows by the digest that its file is another
 * one: the names here are not those of the other protocol, which an older molt would follow.
 */
import type { Descriptor, Fd } from "../../../native/descriptor.ts";
import { SystemError } from "../../../native/errors.ts";
import { createMemfd, openFile, OpenFlags, readAt, status, writeAt } from "../../../native/file.ts";
import { isBrokenChannel } from "../../../native/channel.ts";
import { send } from "../../../native/socket.ts";
import { hasHungUp } from "../../../native/wait.ts";
import { MigrationError } from "../../errors.ts";
import { streamMagic, voidMagic } from "../../stream/file_header.ts";
import type { KeptDescriptor } from "../descriptors.ts";
import { Ownership } from "../ownership.ts";
import { ANSWER } from "./protocol.ts";
import { reapInterimMonitor, WaitingGuest } from "./waiting_guest.ts";

/** To interim monitor and successor: who has the guest. */
export const STANDBY_OWNERSHIP_NAME = "molt.standby.ownership";
/** To the interim monitor: the file. */
export const STANDBY_FILE_NAME = "molt.standby.file";
/** To the successor: the way back, what it is for, its flag and the events. */
const RETURN_NAME = "molt.standby";
const RECORD_NAME = "molt.standby.record";
const RETURN_OWNERSHIP_NAME = "molt.standby.ownership.return";
const EVENTS_NAME = "molt.standby.events";

const RECORD_SIZE = 4096;
/** A file without memory in it is far smaller. */
const FILE_LIMIT = 64 << 20;

/** What the record says, as JSON. */
interface StandbyRecord {
  /** Of the file, without the bytes that say that it is void. */
  readonly digest: string;
  /** The interim monitor's process id. */
  readonly pid: number;
}

/** What an old process hands on for a guest on standby, in whose names the successor finds it. */
export interface StandbyParts {
  readonly connection: Fd;
  readonly events: Fd;
  /** The flag of the file and the interim monitor. */
  readonly ownership: Ownership;
  /** The flag of the interim monitor and the successor. */
  readonly returnOwnership: Ownership;
}

/** The old process's note of which file it has written. */
export class StandbyNote implements Disposable {
  readonly #record: Descriptor;

  private constructor(record: Descriptor) {
    this.#record = record;
  }

  /** Of the file open as `file`, which is complete. Throws if it is too long to be a guest's without memory. */
  static async of(file: Fd, pid: number): Promise<StandbyNote> {
    const digest = await digestOf(`/proc/self/fd/${file}`);
    if (digest === undefined) throw new MigrationError("the file cannot be read again");
    const record = createMemfd(RECORD_NAME, RECORD_SIZE);
    const content: StandbyRecord = { digest, pid };
    writeAt(record.fd, new TextEncoder().encode(JSON.stringify(content)), 0);
    return new StandbyNote(record);
  }

  /** What a successor needs to answer. */
  kept({ connection, events, ownership, returnOwnership }: StandbyParts): KeptDescriptor[] {
    return [
      { name: RETURN_NAME, id: 0, fd: connection },
      { name: EVENTS_NAME, id: 0, fd: events },
      { name: RECORD_NAME, id: 0, fd: this.#record.fd },
      ownership.kept(STANDBY_OWNERSHIP_NAME),
      returnOwnership.kept(RETURN_OWNERSHIP_NAME),
    ];
  }

  [Symbol.dispose](): void {
    this.#record[Symbol.dispose]();
  }
}

/** The interim monitor's file, and the flag that says whose the guest is. */
export class StandbyFile implements Disposable {
  readonly ownership: Ownership;
  readonly #file: Descriptor;

  /** Takes over both. `given` is the old process's descriptor: it may not be one for reading. */
  constructor(given: Descriptor, flag: Descriptor) {
    using undo = new DisposableStack();
    using old = given;
    const ownership = undo.use(Ownership.adopt(flag));
    this.#file = openFile(`/proc/self/fd/${old.fd}`, OpenFlags.readWrite);
    this.ownership = ownership;
    undo.move();
  }

  /** For a channel, which closes it. */
  duplicate(): Descriptor {
    return this.#file.duplicate();
  }

  /** Takes the guest, if it is still nobody's: the file is void from here on. */
  take(): boolean {
    if (!this.ownership.take()) return false;
    this.#mark(voidMagic);
    return true;
  }

  /** The successor has the guest. The file is what it would be without all this: out of date. */
  settle(): void {
    this.#mark(streamMagic);
  }

  #mark(magic: Uint8Array<ArrayBuffer>): void {
    try {
      writeAt(this.#file.fd, magic, 0);
    } catch (error) {
      // The flag counts for whoever knows it.
      if (!(error instanceof SystemError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.ownership[Symbol.dispose]();
    this.#file[Symbol.dispose]();
  }
}

/** A guest that this process has answered for. */
export interface AnsweredGuest {
  readonly waiting: WaitingGuest;
  /** Decides between the interim monitor and this process. */
  readonly ownership: Ownership;
}

/**
 * Answers for a guest on standby whose state is the one in the file that this process is to load, `path`.
 * `undefined`: that file is to be loaded, or whatever the options say. Throws if the file is void and
 * nobody has the guest.
 */
export async function answerStandby(
  adopt: (name: string) => Descriptor | undefined,
  path: string | undefined,
): Promise<AnsweredGuest | undefined> {
  using undo = new DisposableStack();
  const parts = [RETURN_NAME, EVENTS_NAME, RECORD_NAME, RETURN_OWNERSHIP_NAME]
    .map((name) => undo.adopt(adopt(name), (descriptor) => descriptor?.[Symbol.dispose]()));
  const [connection, events, record, returnFlag] = parts;
  const flag = adopt(STANDBY_OWNERSHIP_NAME);
  if (flag === undefined) return undefined;
  const ownership = undo.use(Ownership.adopt(flag));
  const { digest, pid } = readRecord(record) ?? {};
  const mine = digest !== undefined && path !== undefined && await digestOf(path) === digest;
  if (!mine || connection === undefined || returnFlag === undefined || pid === undefined) {
    // Of another file's guest, or none that can be asked for: it must never run there.
    ownership.keep();
    if (pid !== undefined) reap(pid);
    return undefined;
  }
  if (ownership.decision === "kept" || !answer(connection)) {
    reap(pid);
    if (ownership.keep()) return undefined;
    throw new MigrationError(
      `the state in '${path}' is void: its guest ran on in process ${pid}, which has ended`,
    );
  }
  undo.move();
  record?.[Symbol.dispose]();
  const waiting = new WaitingGuest(connection, events, undefined, pid, ownership);
  return { waiting, ownership: Ownership.adopt(returnFlag) };
}

/** Says that a molt is here which will ask for the guest; false if nobody hears it. */
function answer({ fd }: Descriptor): boolean {
  if (hasHungUp(fd)) return false;
  try {
    return send(fd, Uint8Array.of(ANSWER)) === 1;
  } catch (error) {
    if (!isBrokenChannel(error)) throw error;
    return false;
  }
}

function reap(pid: number): void {
  reapInterimMonitor(pid).catch(() => {});
}

function readRecord(record: Descriptor | undefined): Partial<StandbyRecord> | undefined {
  if (record === undefined) return undefined;
  const bytes = new Uint8Array(RECORD_SIZE);
  const length = readAt(record.fd, bytes, 0);
  const text = new TextDecoder().decode(bytes.subarray(0, length)).replace(/\0+$/, "");
  try {
    const { digest, pid } = JSON.parse(text);
    return typeof digest === "string" && Number.isSafeInteger(pid) && pid > 0
      ? { digest, pid }
      : undefined;
  } catch {
    return undefined;
  }
}

/** What tells one state from another, void or not; `undefined` if there is no such file. */
async function digestOf(path: string): Promise<string | undefined> {
  let content: Uint8Array<ArrayBuffer>;
  try {
    using file = openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking);
    const { kind, size } = status(file.fd);
    if (kind !== "file" || size > FILE_LIMIT) return undefined;
    content = new Uint8Array(size);
    let count = 0;
    for (let more = -1; count < size && more !== 0; count += more) {
      more = readAt(file.fd, content.subarray(count), count);
    }
    if (count < size) return undefined;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined;
  }
  const digest = await crypto.subtle.digest("SHA-256", content.subarray(streamMagic.length));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
