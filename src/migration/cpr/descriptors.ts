/**
 * The registry of descriptors that a live update hands on, and the state that carries it.
 *
 * Before an update every subsystem names what it wants to keep: (name, id) -> descriptor. The
 * successor reads the list before it creates anything, and each subsystem takes back what it finds
 * under its name. What nobody took is closed: one rule for RAM, sockets, files and taps alike.
 */
import { asFd, Descriptor, type Fd, isOpen, setCloseOnExec } from "../../native/descriptor.ts";
import { createMemfd, read, seek, status, writeAt } from "../../native/file.ts";
import { getEnvironment, unsetEnvironment } from "../../native/process.ts";
import {
  type CprExecState,
  cprExecState,
  decodeCprState,
  encodeCprState,
} from "./state_description.ts";

/** The environment variable that names the memfd, and the memfd's own name. */
export const CPR_STATE_VARIABLE = "QEMU_CPR_EXEC_STATE";
/** A live update's state is a list of names: far below this many bytes. */
const STATE_LIMIT = 1 << 20;

/** A descriptor that a successor is to have. */
export interface KeptDescriptor {
  readonly name: string;
  /** Index within the name, 0 for RAM. */
  readonly id: number;
  readonly fd: Fd;
}

/** What a process received from the one before it. Each entry is taken once. */
export class InheritedDescriptors implements Disposable {
  readonly #entries = new Map<string, Descriptor>();

  /** Takes over the descriptors. Throws if one name comes twice. */
  constructor(entries: Iterable<readonly [name: string, id: number, descriptor: Descriptor]> = []) {
    for (const [name, id, descriptor] of entries) {
      const key = keyOf(name, id);
      if (this.#entries.has(key)) throw new Error(`CPR state has '${name}' ${id} twice`);
      this.#entries.set(key, descriptor);
    }
  }

  /** The descriptor under that name, now the caller's. */
  take(name: string, id = 0): Descriptor | undefined {
    const key = keyOf(name, id);
    const descriptor = this.#entries.get(key);
    this.#entries.delete(key);
    return descriptor;
  }

  /** All that is left, for another owner. */
  move(): InheritedDescriptors {
    const moved = new InheritedDescriptors();
    for (const [key, descriptor] of this.#entries) moved.#entries.set(key, descriptor);
    this.#entries.clear();
    return moved;
  }

  has(name: string, id = 0): boolean {
    return this.#entries.has(keyOf(name, id));
  }

  /** Closes what nobody took. */
  [Symbol.dispose](): void {
    for (const descriptor of this.#entries.values()) descriptor[Symbol.dispose]();
    this.#entries.clear();
  }
}

function tooLong(size: number): string {
  return `CPR state of ${size} bytes is too long: at most ${STATE_LIMIT}`;
}

function keyOf(name: string, id: number): string {
  return `${id} ${name}`;
}

/** Checks what a successor relies on: it could not go on without, and the guest would be lost. */
function checkEntries(fds: CprExecState["fds"]): void {
  const names = new Set<string>();
  const numbers = new Set<number>();
  for (const { name, id, fd } of fds) {
    if (names.has(keyOf(name, id))) throw new Error(`CPR state has '${name}' ${id} twice`);
    if (numbers.has(fd)) throw new Error(`CPR state names descriptor ${fd} twice`);
    if (!isOpen(fd)) throw new Error(`CPR state names descriptor ${fd} for '${name}': not open`);
    names.add(keyOf(name, id));
    numbers.add(fd);
  }
}

/** Writes the list to a memfd as cpr-exec hands it on. Throws if no successor would take it. */
export function writeExecState(kept: readonly KeptDescriptor[]): Descriptor {
  const fds = kept.map(({ name, id, fd }) => ({ name, id, fd: fd as number }));
  checkEntries(fds);
  const bytes = encodeCprState(cprExecState, { fds, vfioDevices: [] });
  if (bytes.length > STATE_LIMIT) throw new Error(tooLong(bytes.length));
  decodeCprState(cprExecState, bytes);
  const memfd = createMemfd(CPR_STATE_VARIABLE, bytes.length);
  try {
    writeAt(memfd.fd, bytes, 0);
    return memfd;
  } catch (error) {
    memfd[Symbol.dispose]();
    throw error;
  }
}

/**
 * What the process before this one left by cpr-exec; `undefined` if this is no live update. The
 * variable is removed, and the descriptors close on exec again.
 */
export function readExecState(): InheritedDescriptors | undefined {
  const value = getEnvironment(CPR_STATE_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(CPR_STATE_VARIABLE);
  const number = Number(value);
  if (!/^\d+$/.test(value) || !isOpen(number)) {
    throw new Error(`${CPR_STATE_VARIABLE} is '${value}', which is no open descriptor`);
  }
  using memfd = new Descriptor(number);
  const { size } = status(memfd.fd);
  if (size > STATE_LIMIT) throw new Error(tooLong(size));
  const bytes = new Uint8Array(size);
  seek(memfd.fd, 0);
  if (read(memfd.fd, bytes) !== size) throw new Error("CPR state could not be read");
  const { fds } = decodeCprState(cprExecState, bytes);
  checkEntries(fds);
  for (const { fd } of fds) setCloseOnExec(asFd(fd), true);
  return new InheritedDescriptors(
    fds.map(({ name, id, fd }) => [name, id, new Descriptor(fd)] as const),
  );
}
