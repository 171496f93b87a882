/**
 * Has chosen system calls of the C library fail in a running molt. The library interpose.c is preloaded
 * into the process; both sides map one file, through which the test arms a failure and sees whether it
 * was reached. All integers in it are little-endian.
 */
import { Ioctl } from "../../src/kvm/constants.ts";

const source = new URL("interpose.c", import.meta.url).pathname;
const library = new URL("../../build/interpose.so", import.meta.url).pathname;

/** struct control in interpose.c. */
const Offset = {
  processes: 0,
  armed: 4,
  process: 8,
  error: 12,
  key: 16,
  use: 24,
  reached: 28,
  unknown: 32,
  unknownName: 36,
  names: 96,
} as const;
const NAMES = 96;
const NAME_SIZE = 24;
const USES = Offset.names + NAMES * NAME_SIZE;
const PROCESSES = 8;
const KEYS = 256;
const KEY_SIZE = 16;
const SIZE = USES + PROCESSES * KEYS * KEY_SIZE;

/** A system call as failures are chosen by: its name, and what distinguishes its uses, if anything does. */
export interface Call {
  readonly name: string;
  /** Request of an ioctl, command of fcntl and prctl, operation of epoll_ctl, option, number of syscall. */
  readonly selector: number;
}

/** One failure. */
export interface Injection {
  readonly call: Call;
  /** Counted from 1 since it was armed. */
  readonly use: number;
  readonly errno: number;
}

/** Builds the preloaded library if it is not there or older than its source. */
export function buildInterposer(): string {
  const age = (path: string) => Deno.statSync(path).mtime?.getTime() ?? 0;
  let built = 0;
  try {
    built = age(library);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (built > age(source)) return library;
  const made = `${library}.${Deno.pid}`;
  const { success, stderr } = new Deno.Command(Deno.env.get("CC") ?? "cc", {
    args: [
      ...["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden"],
      ...["-shared", "-o", made, source],
    ],
  }).outputSync();
  if (!success) throw new Error(`${source}: ${new TextDecoder().decode(stderr)}`);
  Deno.renameSync(made, library);
  return library;
}

/** Where failures are armed for one process and those that come from it. */
export class Interposer implements Disposable {
  /** What the process is started with. */
  readonly env: Record<string, string>;
  readonly #file: Deno.FsFile;
  #names: string[] | undefined;

  /** Makes the file `path`. */
  constructor(path: string) {
    this.#file = Deno.openSync(path, { create: true, truncate: true, read: true, write: true });
    this.#file.truncateSync(SIZE);
    // Before what is preloaded anyway, such as a sanitizer.
    const preloaded = [buildInterposer(), Deno.env.get("LD_PRELOAD") ?? ""];
    this.env = { LD_PRELOAD: preloaded.join(" ").trim(), MOLT_INJECTION: path };
  }

  /** How many processes have loaded the C library so far: the next one's place in their order. */
  get processes(): number {
    return this.#read(Offset.processes, 4).getUint32(0, true);
  }

  /** Whether the failure that was armed last has happened. */
  get reached(): boolean {
    return this.#read(Offset.reached, 4).getUint32(0, true) !== 0;
  }

  /** Counts from 0 again, and has `injection` fail in the process with that place, if one is given. */
  arm(process: number, injection?: Injection): void {
    this.disarm();
    const head = new DataView(new ArrayBuffer(Offset.unknown));
    head.setUint32(Offset.process, process, true);
    if (injection !== undefined) {
      head.setUint32(Offset.error, injection.errno, true);
      head.setBigUint64(Offset.key, this.#key(injection.call), true);
      head.setUint32(Offset.use, injection.use, true);
    }
    this.#write(USES, new Uint8Array(SIZE - USES));
    this.#write(Offset.process, new Uint8Array(head.buffer, Offset.process));
    this.#write(Offset.armed, Uint8Array.of(1, 0, 0, 0));
  }

  /** From now on nothing fails. */
  disarm(): void {
    this.#write(Offset.armed, new Uint8Array(4));
  }

  /** How often the process with that place has used which calls since the last arming. */
  uses(process: number): { readonly call: Call; readonly count: number }[] {
    const names = this.#callNames();
    const table = this.#read(USES + (process % PROCESSES) * KEYS * KEY_SIZE, KEYS * KEY_SIZE);
    const uses = Array.from({ length: KEYS }, (_, i) => ({
      selector: table.getUint32(i * KEY_SIZE, true),
      call: table.getUint32(i * KEY_SIZE + 4, true),
      count: table.getUint32(i * KEY_SIZE + 8, true),
    })).filter(({ call }) => call !== 0);
    return uses.map(({ selector, call, count }) => ({
      call: { name: names[call - 1] ?? "", selector },
      count,
    })).toSorted((a, b) => describeCall(a.call) < describeCall(b.call) ? -1 : 1);
  }

  /** The names of all calls that can fail. */
  get names(): readonly string[] {
    return this.#callNames();
  }

  /** A function that the C library imports and interpose.c does not know, if there is one. */
  get unknown(): string | undefined {
    const view = this.#read(Offset.unknown, Offset.names - Offset.unknown);
    return view.getUint32(0, true) === 0 ? undefined : text(view, 4);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  #key({ name, selector }: Call): bigint {
    const index = this.#callNames().indexOf(name);
    if (index < 0) throw new Error(`'${name}' cannot be made to fail`);
    return BigInt(index + 1) << 32n | BigInt(selector >>> 0);
  }

  /** The process writes them; before there is one, the order in the source is the same. */
  #callNames(): string[] {
    this.#names ??= [...Deno.readTextFileSync(source).matchAll(/^\tX\((\w+), \w+, \w+\)/gm)]
      .map(([, name]) => name ?? "");
    return this.#names;
  }

  #read(offset: number, size: number): DataView<ArrayBuffer> {
    const bytes = new Uint8Array(size);
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < size;) {
      const count = this.#file.readSync(bytes.subarray(done));
      if (count === null) throw new Error("the control file is too short");
      done += count;
    }
    return new DataView(bytes.buffer);
  }

  #write(offset: number, bytes: Uint8Array): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
  }
}

function text(view: DataView<ArrayBuffer>, at: number): string {
  const bytes = new Uint8Array(view.buffer, at);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

/** What selects an operation of SYS_futex. */
export function futex(operation: number): number {
  return 202 | operation << 16;
}

/** Names of the numbers that distinguishes uses of one call . */
const selectorNames: Readonly<Record<string, ReadonlyMap<number, string>>> = {
  ioctl: new Map(
    Object.entries(Ioctl).map(([name, number]) => [Number(number), `KVM ${name}`] as const),
  ),
  epoll_ctl: new Map([[1, "ADD"], [2, "DEL"], [3, "MOD"]]),
  fcntl: new Map([
    ...[[1, "F_GETFD"], [2, "F_SETFD"], [3, "F_GETFL"], [4, "F_SETFL"]] as const,
    ...[[36, "F_OFD_GETLK"], [37, "F_OFD_SETLK"], [1030, "F_DUPFD_CLOEXEC"]] as const,
    ...[[1033, "F_ADD_SEALS"], [1034, "F_GET_SEALS"]] as const,
  ]),
  prctl: new Map([[1, "PR_SET_PDEATHSIG"], [15, "PR_SET_NAME"]]),
  syscall: new Map([
    ...[[futex(128), "futex WAIT"], [futex(129), "futex WAKE"]] as const,
    ...[[436, "close_range"]] as const,
  ]),
};
const selected = new Set([...Object.keys(selectorNames), "getsockopt", "setsockopt"]);

/** `epoll_ctl(ADD)`, `accept4`. */
export function describeCall({ name, selector }: Call): string {
  if (!selected.has(name)) return name;
  const hex = `0x${(selector >>> 0).toString(16)}`;
  return `${name}(${selectorNames[name]?.get(selector >>> 0) ?? hex})`;
}
