/** Finds, loads and checks the C library. The only file that calls `Deno.dlopen`. */
import { layoutDifference } from "./layouts.ts";
import { symbols } from "./symbols.ts";
import { checked } from "./checked.ts";

type Library = Deno.DynamicLibrary<typeof symbols>;

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

/**
 * Loads the copy embedded in a compiled program through a memfd: Deno would unpack it into the
 * temporary folder, which need not exist or be writable where molt runs.
 */
function openEmbedded(path: string): Library {
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
    return Deno.dlopen(`/proc/self/fd/${fd}`, symbols);
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
function open(): Library {
  const { dirname } = import.meta;
  if (Deno.build.standalone) return openEmbedded(`${dirname}/libmolt.so`);
  try {
    return Deno.dlopen(givenLibrary() ?? `${dirname}/../../build/libmolt.so`, symbols);
  } catch (cause) {
    const symbol = /undefined symbol: (\w+)/.exec(String(cause))?.[1];
    if (symbol !== undefined) {
      throw new LibraryMismatch(`the library has no ${symbol}`, { cause });
    }
    throw new Error("Could not load the C library; build it with 'deno task build:ffi'", { cause });
  }
}

/** More than the library's table of structures takes, in bytes. */
const TABLE_ROOM = 1 << 16;

/** Compares the C compiler's structure layouts with those written down in TypeScript. */
function checkLayouts(library: Library): void {
  const text = new Uint8Array(TABLE_ROOM);
  const length = Number(library.symbols.molt_abi(text, BigInt(text.length)));
  const difference = layoutDifference(new TextDecoder().decode(text.subarray(0, length)));
  if (difference !== undefined) throw new LibraryMismatch(difference);
}

function load(): Library["symbols"] {
  const library = open();
  checkLayouts(library);
  return checked(library.symbols, symbols);
}

/** The entry points of the library that was loaded, whose arguments are checked (checked.ts). */
export const native: Library["symbols"] = load();
