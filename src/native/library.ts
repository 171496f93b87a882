/**
 * Finds, loads and checks the C library. The only file that calls `Deno.dlopen`.
 *
 * Deno compiles code for each function that it is asked for, which takes it 0.2 ms: all of them would be a fifth
 * of the program's start. So a function is bound when it is called for the first time, and those that a start
 * has not called are bound in the background (binding.ts): a failure must not be the first to need one.
 */
import { layoutDifference } from "./layouts.ts";
import { symbols } from "./symbols.ts";
import { checked } from "./checked.ts";

type Functions = Deno.DynamicLibrary<typeof symbols>["symbols"];
type Name = keyof Functions;

/** `text` as a NUL-terminated C string. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return cStrings([text]);
}

/** `strings` as the C library takes lists: NUL-terminated, one after the other. */
export function cStrings(strings: readonly string[]): Uint8Array<ArrayBuffer> {
  for (const text of strings) {
    if (!text.includes("\0")) continue;
    throw new Error(`'${text.replaceAll("\0", "\\0")}' contains a NUL byte`);
  }
  // TypeScript before 5.9 does not know that encode gives an array of its own.
  return new Uint8Array(new TextEncoder().encode(strings.map((text) => `${text}\0`).join("")));
}

/** What the C library is called in the process's list of libraries, from the first function on. */
type LibraryPath = string;

/**
 * Loads the copy embedded in a compiled program through a memfd: Deno would unpack it into the
 * temporary folder, which need not exist or be writable where molt runs. The memfd is closed then: the dynamic
 * linker compares a path with those of the libraries that are loaded before it opens a file (glibc's
 * _dl_map_object), so the same path goes on to mean this library.
 */
function openEmbedded(path: string): LibraryPath {
  const libc = Deno.dlopen("libc.so.6", {
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const MFD_CLOEXEC = 1;
  const fd = libc.symbols.memfd_create(cString("libmolt.so"), MFD_CLOEXEC);
  if (fd < 0) throw new Error("Could not create a memfd for the C library");
  try {
    const bytes = Deno.readFileSync(path);
    if (libc.symbols.write(fd, bytes, BigInt(bytes.length)) !== BigInt(bytes.length)) {
      throw new Error("Could not copy the C library to a memfd");
    }
    const loaded = `/proc/self/fd/${fd}`;
    Deno.dlopen(loaded, {});
    return loaded;
  } finally {
    libc.symbols.close(fd);
    libc.close();
  }
}

/** The environment variable that names another library for the sources, such as one with sanitizers. */
const LIBRARY_VARIABLE = "MOLT_LIBRARY";

/** What the variable says; nothing to a program that may not look at its environment. */
function givenLibrary(): string | undefined {
  const permission = { name: "env", variable: LIBRARY_VARIABLE } as const;
  const { state } = Deno.permissions.querySync(permission);
  return state === "granted" ? Deno.env.get(LIBRARY_VARIABLE) : undefined;
}

/** The library and this program were not built from the same sources. */
export class LibraryMismatch extends Error {
  override readonly name = "LibraryMismatch";

  /** `difference` says in what they differ. */
  constructor(difference: string, options?: ErrorOptions) {
    const advice = Deno.build.standalone ? "" : "; build it with 'deno task build:ffi'";
    super(
      `The C library and this molt do not belong together: ${difference}${advice}`,
      options,
    );
  }
}

/** A compiled program has the library beside its code, the sources have it in the build folder. */
function open(): LibraryPath {
  const { dirname } = import.meta;
  if (Deno.build.standalone) return openEmbedded(`${dirname}/libmolt.so`);
  const path = givenLibrary() ?? `${dirname}/../../build/libmolt.so`;
  try {
    // No code is compiled for functions that run on another thread: this only looks whether all are there.
    Deno.dlopen(path, onOtherThreads());
    return path;
  } catch (cause) {
    const symbol = /undefined symbol: (\w+)/.exec(String(cause))?.[1];
    if (symbol !== undefined) {
      throw new LibraryMismatch(`the library has no ${symbol}`, { cause });
    }
    throw new Error("Could not load the C library; build it with 'deno task build:ffi'", { cause });
  }
}

function onOtherThreads(): Deno.ForeignLibraryInterface {
  return Object.fromEntries(
    Object.entries(symbols).map(([name, symbol]) => [name, { ...symbol, nonblocking: true }]),
  );
}

/** More than the library's table of structures takes, in bytes. */
const TABLE_ROOM = 1 << 16;

/** Compares the C compiler's structure layouts with those written down in TypeScript. */
function checkLayouts(functions: Pick<Functions, "molt_abi">): void {
  const text = new Uint8Array(TABLE_ROOM);
  const length = Number(functions.molt_abi(text, BigInt(text.length)));
  const difference = layoutDifference(new TextDecoder().decode(text.subarray(0, length)));
  if (difference !== undefined) throw new LibraryMismatch(difference);
}

const library = open();
/** What was bound so far. */
const bound: { [Key in Name]?: Functions[Key] } = {};

/** Binds a function, if it is not yet. */
export function bind<Key extends Name>(name: Key): Functions[Key] {
  return bound[name] ??= (Deno.dlopen(library, { [name]: symbols[name] }) as unknown as {
    readonly symbols: Functions;
  }).symbols[name];
}

/** Functions that nobody has called so far. */
export function unboundFunctions(): Name[] {
  return (Object.keys(symbols) as Name[]).filter((name) => bound[name] === undefined);
}

/** The entry points of the library that was loaded, whose arguments are checked (checked.ts). */
export const native: Functions = checked<Functions>(bind, symbols);
checkLayouts(native);
