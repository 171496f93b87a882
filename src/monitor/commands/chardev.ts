/** Character devices: list, add, exchange and remove them. */
import * as z from "zod";
import type { Chardev } from "../../backends/chardev.ts";
import { checkRingbufSize, DEFAULT_RINGBUF_SIZE } from "../../backends/chardev_options.ts";
import type {
  ChardevAddress,
  ChardevBackendOptions,
  ChardevOptions,
} from "../../configuration/chardev.ts";
import { PtyChardev } from "../../backends/pty.ts";
import { RingbufChardev } from "../../backends/ringbuf.ts";
import { encodeText } from "../../backends/text.ts";
import { defineCommand } from "../command.ts";
import type { ChardevControl } from "../context.ts";
import { CommandError } from "../errors.ts";
import { empty, integer, struct } from "../../qapi/types.ts";

const common = { logfile: z.string().optional(), logappend: z.boolean().optional() };

/** qapi/sockets.json: SocketAddressLegacy, as far as molt has it. */
const address = z.discriminatedUnion("type", [
  struct({
    type: z.literal("unix"),
    data: struct({ path: z.string(), abstract: z.boolean().optional() }),
  }),
  struct({ type: z.literal("inet"), data: struct({ host: z.string(), port: z.string() }) }),
  struct({ type: z.literal("fd"), data: struct({ str: z.string() }) }),
]);

/** qapi/char.json: ChardevBackend, as far as molt has it. */
const backend = z.discriminatedUnion("type", [
  struct({ type: z.literal("null"), data: struct(common) }),
  struct({
    type: z.literal("file"),
    data: struct({
      ...common,
      in: z.string().optional(),
      out: z.string(),
      append: z.boolean().optional(),
    }),
  }),
  struct({
    type: z.literal("socket"),
    data: struct({
      ...common,
      addr: address,
      server: z.boolean().optional(),
      wait: z.boolean().optional(),
      nodelay: z.boolean().optional(),
      "reconnect-ms": integer().optional(),
    }),
  }),
  struct({
    type: z.literal("pty"),
    data: struct({ ...common, path: z.string().optional() }),
  }),
  struct({ type: z.literal("pipe"), data: struct({ ...common, device: z.string() }) }),
  struct({
    type: z.literal("stdio"),
    data: struct({ ...common, signal: z.boolean().optional() }),
  }),
  struct({
    type: z.literal("ringbuf"),
    data: struct({ ...common, size: integer().optional() }),
  }),
  struct({ type: z.literal("mux"), data: struct({ ...common, chardev: z.string() }) }),
]);

type Backend = z.output<typeof backend>;
type SocketData = Extract<Backend, { type: "socket" }>["data"];

function socketAddress({ addr }: SocketData): ChardevAddress {
  switch (addr.type) {
    case "unix":
      return { kind: "unix", path: addr.data.path, abstract: addr.data.abstract ?? false };
    case "inet":
      return { kind: "inet", ...addr.data };
    case "fd":
      return { kind: "named", name: addr.data.str };
  }
}

/** A socket that chardev-add makes listens and does not wait, unless given otherwise. */
function socketOptions(data: SocketData): ChardevBackendOptions {
  const reconnectMs = data["reconnect-ms"] ?? 0;
  if (data.server ?? true) {
    if (reconnectMs !== 0) {
      throw new CommandError(
        "'reconnect-ms' option is incompatible with socket in server listen mode",
      );
    }
    const role = { kind: "server", wait: data.wait ?? false } as const;
    return { kind: "socket", address: socketAddress(data), role };
  }
  if (data.wait !== undefined) {
    throw new CommandError("'wait' option is incompatible with socket in client connect mode");
  }
  return { kind: "socket", address: socketAddress(data), role: { kind: "client", reconnectMs } };
}

function backendOptions(given: Backend): ChardevBackendOptions {
  switch (given.type) {
    case "null":
      return { kind: "null" };
    case "file": {
      const { out, append, in: inputPath } = given.data;
      const input = inputPath === undefined ? {} : { inputPath };
      return { kind: "file", path: out, append: append ?? false, ...input };
    }
    case "socket":
      return socketOptions(given.data);
    case "pty":
      return { kind: "pty", ...(given.data.path === undefined ? {} : { path: given.data.path }) };
    case "pipe":
      return { kind: "pipe", path: given.data.device };
    case "stdio":
      return { kind: "stdio", signal: given.data.signal ?? true };
    case "ringbuf": {
      const size = given.data.size ?? DEFAULT_RINGBUF_SIZE;
      checkRingbufSize(size);
      return { kind: "ringbuf", size };
    }
    case "mux":
      return { kind: "mux", chardev: given.data.chardev };
  }
}

function optionsOf(id: string, given: Backend): ChardevOptions {
  const { logfile, logappend } = given.data;
  return {
    id,
    backend: backendOptions(given),
    ...(logfile === undefined ? {} : { logfile }),
    logappend: logappend ?? false,
    mux: false,
    cpr: false,
  };
}

function ptyOf(chardev: Chardev): { pty?: string } {
  return chardev instanceof PtyChardev ? { pty: chardev.path } : {};
}

function findRingbuf(chardevs: ChardevControl, id: string): RingbufChardev {
  const chardev = chardevs.find(id);
  if (chardev === undefined) throw new CommandError(`Device '${id}' not found`);
  if (!(chardev instanceof RingbufChardev)) {
    throw new CommandError(`${id} is not a ringbuf device`);
  }
  return chardev;
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[A-Za-z0-9+/=\s]*$/.test(text)) {
    throw new CommandError("Base64 data contains invalid characters");
  }
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch (cause) {
    if (!(cause instanceof DOMException)) throw cause;
    throw new CommandError("Base64 data is incomplete");
  }
}

const dataFormat = z.enum(["utf8", "base64"]).optional();
const pty = struct({ pty: z.string().optional() });

export const chardevCommands = [
  defineCommand({
    name: "query-chardev",
    arguments: empty,
    returns: z.array(struct({
      label: z.string(),
      filename: z.string(),
      "frontend-open": z.boolean(),
    })),
    run: ({ chardevs }) =>
      chardevs.list().map(({ label, filename, frontendOpen }) => ({
        label,
        filename,
        "frontend-open": frontendOpen,
      })),
  }),
  defineCommand({
    name: "query-chardev-backends",
    arguments: empty,
    returns: z.array(struct({ name: z.string() })),
    run: () => backend.options.map(({ shape }) => ({ name: shape.type.value })),
  }),
  defineCommand({
    name: "chardev-add",
    arguments: struct({ id: z.string(), backend }),
    returns: pty,
    run: async ({ chardevs }, { id, backend }) => {
      if (chardevs.find(id) !== undefined) {
        throw new CommandError(`Chardev with id '${id}' already exists`);
      }
      try {
        return ptyOf(await chardevs.create(optionsOf(id, backend)));
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new Error(`Failed to add chardev '${id}': ${reason}`, { cause });
      }
    },
  }),
  defineCommand({
    name: "chardev-change",
    arguments: struct({ id: z.string(), backend }),
    returns: pty,
    run: async ({ chardevs }, { id, backend }) =>
      ptyOf(await chardevs.change(optionsOf(id, backend))),
  }),
  defineCommand({
    name: "chardev-remove",
    arguments: struct({ id: z.string() }),
    run: ({ chardevs }, { id }) => chardevs.remove(id),
  }),
  defineCommand({
    name: "chardev-send-break",
    arguments: struct({ id: z.string() }),
    run: ({ chardevs }, { id }) => chardevs.sendBreak(id),
  }),
  defineCommand({
    name: "ringbuf-write",
    arguments: struct({ device: z.string(), data: z.string(), format: dataFormat }),
    run: ({ chardevs }, { device, data, format }) => {
      const ringbuf = findRingbuf(chardevs, device);
      ringbuf.write(format === "base64" ? decodeBase64(data) : encodeText(data));
    },
  }),
  defineCommand({
    name: "ringbuf-read",
    arguments: struct({ device: z.string(), size: integer(), format: dataFormat }),
    returns: z.string(),
    run: ({ chardevs }, { device, size, format }) => {
      const ringbuf = findRingbuf(chardevs, device);
      if (size <= 0) throw new CommandError("size must be greater than zero");
      const bytes = ringbuf.read(size);
      return format === "base64"
        ? btoa(String.fromCharCode(...bytes))
        : new TextDecoder().decode(bytes);
    },
  }),
];
