/**
 * Functions that may wait for a peer, a disk or the name service, or take long: threads of the C
 * library's own call them (ffi/thread_pool.c), through `threads` in thread_pool.ts. `nonblocking` of Deno
 * would hold one of the runtime's few threads for as long.
 */
import { at } from "../prototype.ts";

/** As ffi/thread_functions.h has them. */
export const threadPrototypes = {
  // file.c
  molt_sync: ["int32_t", "int32_t fd"],
  molt_datasync: ["int32_t", "int32_t fd"],

  // socket.c
  molt_connect_patiently: [
    "int32_t",
    "int32_t fd",
    "const void *address",
    "uint32_t length",
    "int32_t cancel",
    "int64_t limit",
  ],
  molt_resolve: [
    "int32_t",
    "const char *host",
    "const char *service",
    "int32_t passive",
    "int32_t family",
    "void *addresses",
    "uint32_t room",
  ],

  // channel.c
  molt_channel_write: [
    "int32_t",
    at("struct molt_channel *channel"),
    "void *buffer",
    "uint64_t length",
  ],
  molt_channel_read: [
    "int64_t",
    at("struct molt_channel *channel"),
    "void *buffer",
    "uint64_t length",
  ],

  // mapped_ram.c
  molt_pages_transfer: ["int32_t", "struct molt_page_transfer *transfer"],

  // dirty.c
  molt_dirty_log_get: [
    "int32_t",
    "int32_t vm",
    "uint32_t slot",
    "uint64_t pages",
    at("uint64_t *scratch"),
    at("uint64_t *bitmap"),
    "uint64_t first",
  ],
  molt_dirty_log_clear: [
    "int32_t",
    "int32_t vm",
    "uint32_t slot",
    "uint64_t pages",
    "uint64_t first",
    at("const uint64_t *bitmap"),
    "uint64_t from",
    "uint64_t end",
  ],

  // ram_stream.c
  molt_ram_send: [
    "int64_t",
    at("struct molt_channel *channel"),
    at("uint8_t *memory"),
    at("const uint64_t *bitmap"),
    at("const uint64_t *maybe"),
    "uint64_t first",
    "uint64_t end",
    "uint32_t detect",
    at("const uint8_t *name"),
    at("uint64_t *counts"),
  ],

  // ram_load.c
  molt_ram_receive: [
    "int32_t",
    at("struct molt_channel *channel"),
    "uint8_t *bytes",
    "uint64_t size",
    "struct molt_ram_buffer *buffer",
    at("const struct molt_ram_target *targets"),
    "uint32_t count",
  ],

  // multifd.c
  molt_multifd_send: [
    "int64_t",
    at("struct molt_multifd *end"),
    at("struct molt_channel *channel"),
    at("uint8_t *memory"),
    at("const uint64_t *bitmap"),
    at("const uint64_t *maybe"),
    "uint64_t first",
    "uint64_t last",
    "uint32_t detect",
    at("const uint8_t *name"),
    at("uint64_t *number"),
    at("uint64_t *counts"),
  ],
  molt_multifd_send_sync: [
    "int64_t",
    at("struct molt_multifd *end"),
    at("struct molt_channel *channel"),
    at("uint64_t *number"),
  ],
  molt_multifd_receive: [
    "int32_t",
    at("struct molt_multifd *end"),
    at("struct molt_channel *channel"),
    at("const struct molt_ram_target *targets"),
    "uint32_t count",
  ],

  // pages.c
  molt_drop_zero_pages: [
    "void",
    "uint64_t memory",
    at("uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
  ],
  molt_drop_file_holes: [
    "int64_t",
    "int32_t fd",
    "int64_t offset",
    at("uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
  ],
  molt_drop_untouched: [
    "int32_t",
    "uint64_t memory",
    at("uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
  ],
} as const;
