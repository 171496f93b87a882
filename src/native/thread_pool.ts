/**
 * Calls of the C library on threads of its own (ffi/thread_pool.c): as many as there are calls, so that
 * none waits for another, whatever peers do. Results arrive through the event loop.
 */
import { reportFault } from "./faults.ts";
import { holds, refuseArguments, type Signature } from "./checked.ts";
import { layouts } from "./layouts.ts";
import { cString, native } from "./library.ts";
import { asFd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";
import { Events, processLoop } from "./event_loop.ts";
import { threadFunctions } from "./symbols.ts";

type Functions = typeof threadFunctions;
type Argument<Kind> = Kind extends "buffer" ? Uint8Array<ArrayBuffer>
  : Kind extends "i32" | "u32" ? number
  : bigint;

type Arguments<Kinds extends readonly string[]> = {
  -readonly [I in keyof Kinds]: Argument<Kinds[I]>;
};

/** Each function with the types of its entry in the table. Buffers must stay as they are until the end. */
type ThreadCalls = {
  readonly [Name in keyof Functions]: (
    ...values: Arguments<Functions[Name]["parameters"]>
  ) => Promise<Functions[Name]["result"] extends "i64" ? bigint : number>;
};

const layout = layouts.molt_completion;
/** Results taken at once. */
const ROOM = 64;

/** A call under way. */
interface Call {
  readonly resolve: (result: bigint) => void;
  /** What its arguments point to. */
  readonly values: readonly unknown[];
  readonly served: Disposable;
}

/** The calls under way. */
class ThreadPool {
  readonly #calls = new Map<bigint, Call>();
  readonly #event = asFd(unwrap(native.molt_pool_event(), "Could not prepare threads"));
  readonly #completions = new Uint8Array(layout.sizeof * ROOM);
  #lastToken = 0n;

  constructor() {
    processLoop().watch(this.#event, Events.readable, () => this.#settle(), reportFault);
  }

  call(name: string, index: number, values: readonly unknown[]): Promise<bigint> {
    const token = ++this.#lastToken;
    const words = BigInt64Array.from(values, toWord);
    const served = processLoop().keepServing();
    try {
      unwrap(
        native.molt_pool_call(index, new Uint8Array(words.buffer), words.length, token),
        () => `Could not start a thread for ${name}`,
      );
    } catch (error) {
      served[Symbol.dispose]();
      throw error;
    }
    const { promise, resolve } = Promise.withResolvers<bigint>();
    this.#calls.set(token, { resolve, values, served });
    return promise;
  }

  #settle(): void {
    native.molt_read(this.#event, new Uint8Array(8), 8n);
    const view = new DataView(this.#completions.buffer);
    for (let count = ROOM; count === ROOM;) {
      count = native.molt_pool_take(this.#completions, ROOM);
      for (let i = 0; i < count; i++) {
        const token = view.getBigUint64(layout.sizeof * i + layout.token, true);
        const call = this.#calls.get(token);
        this.#calls.delete(token);
        call?.served[Symbol.dispose]();
        call?.resolve(view.getBigInt64(layout.sizeof * i + layout.result, true));
      }
    }
  }
}

/** A value that its parameter holds, as the 64 bits that the pool hands on: an address where it is a buffer. */
function toWord(value: unknown): bigint {
  if (!(value instanceof Uint8Array)) return BigInt.asIntN(64, BigInt(value as number | bigint));
  // The buffer's address, not the view's: the engine may move the bytes of a small view without one.
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(value.buffer as ArrayBuffer));
  return BigInt.asIntN(64, BigInt(address) + BigInt(value.byteOffset));
}

let pool: ThreadPool | undefined;

function callOf(name: string, signature: Signature) {
  let index: number | undefined;
  return async (...values: unknown[]) => {
    if (!signature.parameters.every((kind, i) => holds(kind, values[i]))) {
      return refuseArguments(name, signature, values);
    }
    index ??= unwrap(native.molt_pool_find(cString(name)), `The C library has no ${name}`);
    pool ??= new ThreadPool();
    const result = await pool.call(name, index, values);
    return signature.result === "i64" ? result : Number(result);
  };
}

/**
 * The functions that threads of the C library call. Like `native`, but each call returns at once with a
 * promise; it is rejected only if no thread can be started.
 */
export const threads = Object.fromEntries(
  Object.entries(threadFunctions).map(([name, signature]) => [name, callOf(name, signature)]),
) as unknown as ThreadCalls;
