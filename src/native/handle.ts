/** Handles of the C library's objects: each has one owner, and nobody uses it after its end. */

/** An object of the C library, or memory of its, was used after it had been freed: nothing was called. */
export class DisposedError extends Error {
  override readonly name = "DisposedError";
  /** `what` names the object, such as `a disk`. */
  constructor(what: string) {
    super(`${what} was used after it had been disposed`);
  }
}

/**
 * The life of something that threads of the C library may be using. Disposal makes it unusable at once;
 * it is freed when the last call that was under way has ended.
 */
export class Lifetime implements Disposable {
  readonly #what: string;
  readonly #free: () => void;
  #users = 0;
  #disposed = false;

  /** `what` is for errors. `free` is called once. */
  constructor(what: string, free: () => void) {
    this.#what = what;
    this.#free = free;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Throws a {@linkcode DisposedError} after disposal. */
  check(): void {
    if (this.#disposed) throw new DisposedError(this.#what);
  }

  /** Keeps it from being freed until the result is disposed: for calls that run on other threads. */
  hold(): Disposable {
    this.check();
    this.#users++;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        if (--this.#users === 0 && this.#disposed) this.#free();
      },
    };
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#users === 0) this.#free();
  }
}

/** What can be kept from being freed. */
export interface Holdable {
  hold(): Disposable;
}

/** Holds all of them until the result is disposed. */
export function holdAll(...parts: readonly Holdable[]): Disposable {
  using undo = new DisposableStack();
  for (const part of parts) undo.use(part.hold());
  return undo.move();
}

/** The handle of an object of the C library: its address. */
export class NativeHandle implements Disposable {
  readonly #handle: bigint;
  readonly #life: Lifetime;

  /** Takes over the object at `handle`, which `free` frees. `what` is for errors. */
  constructor(what: string, handle: number | bigint, free: (handle: bigint) => void) {
    this.#handle = BigInt(handle);
    this.#life = new Lifetime(what, () => free(this.#handle));
  }

  /** The handle, for one call that returns before anything else happens here. */
  get value(): bigint {
    this.#life.check();
    return this.#handle;
  }

  get disposed(): boolean {
    return this.#life.disposed;
  }

  /** Keeps the object from being freed while a call runs on another thread. */
  hold(): Disposable {
    return this.#life.hold();
  }

  [Symbol.dispose](): void {
    this.#life[Symbol.dispose]();
  }
}

/**
 * `size` bytes of memory of the C library at `address`. {@linkcode detachMemory} takes them away again
 * from everything that shows them.
 */
export function memoryAt(address: number | bigint, size: number): ArrayBuffer {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (pointer === null) throw new Error("The C library returned no memory");
  return Deno.UnsafePointerView.getArrayBuffer(pointer, size);
}

/**
 * The memory is about to be freed: arrays and views on it have no bytes from now on, wherever they are
 * kept. They read as `undefined`; a DataView and Atomics throw a TypeError.
 */
export function detachMemory(memory: ArrayBuffer): void {
  memory.transfer(0);
}
