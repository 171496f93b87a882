/** What the library does for a guest: vCPUs, dirty pages, bitmaps, virtio devices. */
import { at } from "../prototype.ts";

/** Functions that return soon. The isolate calls them. */
export const guestPrototypes = {
  // vcpu.c
  molt_vcpu_create: [
    "int64_t",
    "int32_t fd",
    "uint64_t run_size",
    "uint32_t index",
    "uint64_t doorbell",
  ],
  molt_vcpu_run: ["uint64_t", "uint64_t handle"],
  molt_vcpu_thread_id: ["int32_t", "uint64_t handle"],
  molt_vcpu_resume: ["void", "uint64_t handle"],
  molt_vcpu_kick: ["void", "uint64_t handle"],
  molt_vcpu_sleep: ["void", "uint64_t handle", "int64_t length"],
  molt_vcpu_destroy: ["void", "uint64_t handle"],

  // dirty.c
  molt_dirty_rings_harvest: [
    "int32_t",
    "int32_t vm",
    at("struct molt_dirty_ring *rings"),
    "uint32_t ring_count",
    at("const struct molt_dirty_slot *slots"),
    "uint32_t slot_count",
  ],

  // ram_load.c
  molt_ram_load: [
    "int32_t",
    "const uint8_t *bytes",
    "struct molt_ram_buffer *buffer",
    at("const struct molt_ram_target *targets"),
    "uint32_t count",
  ],

  // ram_record.c
  molt_ram_record: [
    "uint32_t",
    "const uint8_t *bytes",
    "uint64_t start",
    "uint64_t end",
    "const struct molt_ram_target *targets",
    "uint32_t count",
    "uint32_t current",
    "struct molt_ram_record *record",
  ],

  // xbzrle.c
  molt_xbzrle_apply: [
    "int32_t",
    "uint8_t *page",
    "const uint8_t *encoded",
    "uint32_t length",
  ],

  // multifd.c
  molt_multifd_create: ["int64_t", "uint32_t compression", "int32_t level"],
  molt_multifd_destroy: ["void", at("struct molt_multifd *end")],
  molt_multifd_error: ["uint64_t", at("const struct molt_multifd *end")],

  // pages.c
  molt_bitmap_count: ["uint64_t", at("const uint64_t *bitmap"), "uint64_t first", "uint64_t end"],
  molt_bitmap_next: [
    "uint64_t",
    at("const uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
    "uint32_t value",
  ],
  molt_bitmap_fill: [
    "void",
    at("uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
    "uint32_t value",
  ],
  molt_bitmap_take: [
    "void",
    at("uint64_t *source"),
    at("uint64_t *target"),
    "uint64_t first",
    "uint64_t end",
  ],
  molt_bitmap_advance: [
    "uint64_t",
    at("const uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
    "uint64_t count",
  ],
  molt_bitmap_runs: [
    "uint32_t",
    at("const uint64_t *bitmap"),
    "uint64_t first",
    "uint64_t end",
    "uint64_t longest",
    "uint64_t *runs",
    "uint32_t room",
  ],

  // virtio_memory.c
  molt_memory_create: ["int64_t", "const struct molt_memory_region *places", "uint32_t count"],
  molt_memory_destroy: ["void", "uint64_t handle"],
  molt_memory_move: ["void", "uint64_t handle", "uint32_t index", "uint64_t host"],
  molt_memory_record: [
    "void",
    "uint64_t handle",
    "uint32_t index",
    "uint64_t bitmap",
    "uint64_t first",
  ],

  // virtio_interrupt.c
  molt_interrupt_create: [
    "int64_t",
    "int32_t vm",
    "int32_t gsi",
    "int32_t attention",
    "uint32_t causes",
  ],
  molt_interrupt_assign: ["int32_t", "uint64_t handle", "uint32_t cause", "uint64_t vector"],
  molt_interrupt_enable_vectors: ["void", "uint64_t handle", "uint32_t on"],
  molt_interrupt_error: ["int32_t", "uint64_t handle"],
  molt_interrupt_destroy: ["void", "uint64_t handle"],
  molt_interrupt_attach: ["int32_t", "uint64_t handle", "uint64_t address"],
  molt_interrupt_raise: ["void", "uint64_t handle", "uint32_t bits", "uint32_t cause"],
  molt_interrupt_acknowledge: ["void", "uint64_t handle", "uint32_t bits"],
  molt_interrupt_restore: ["void", "uint64_t handle", "uint32_t status"],
  molt_interrupt_route: ["void", "uint64_t handle", "uint32_t address", "uint32_t data"],

  // message_vector.c
  molt_vector_create: ["int64_t", "int32_t vm"],
  molt_vector_destroy: ["void", "uint64_t handle"],
  molt_vector_raise: ["void", "uint64_t handle"],
  molt_vector_unmask: ["void", "uint64_t handle", "uint64_t address", "uint32_t data"],
  molt_vector_mask: ["void", "uint64_t handle"],
  molt_vector_pending: ["int32_t", "uint64_t handle"],
  molt_vector_set_pending: ["void", "uint64_t handle", "uint32_t pending"],
  molt_vector_sent: ["uint64_t", "uint64_t handle"],

  // virtio_queue.c
  molt_queue_create: [
    "int64_t",
    at("struct molt_memory *memory"),
    at("struct molt_interrupt *interrupt"),
    "uint32_t index",
  ],
  molt_queue_destroy: ["void", at("struct molt_queue *queue")],
  molt_queue_start: [
    "int32_t",
    at("struct molt_queue *queue"),
    "const struct molt_queue_setup *setup",
  ],
  molt_queue_stop: ["void", at("struct molt_queue *queue")],
  molt_queue_pop: ["int32_t", at("struct molt_queue *queue"), "struct molt_element *element"],
  molt_queue_unpop: ["void", at("struct molt_queue *queue"), "uint32_t count"],
  molt_queue_rewind: ["void", at("struct molt_queue *queue")],
  molt_queue_push: ["void", at("struct molt_queue *queue"), "uint32_t head", "uint32_t written"],
  molt_queue_notify: ["void", at("struct molt_queue *queue")],
  molt_queue_enable_notifications: ["int32_t", at("struct molt_queue *queue")],
  molt_queue_last_available: ["uint32_t", at("const struct molt_queue *queue")],
  molt_queue_fault: ["uint32_t", at("const struct molt_queue *queue")],
  molt_queue_fail: ["int32_t", at("struct molt_queue *queue"), "uint32_t fault"],

  // image_format.c
  molt_image_format: ["void", "const uint8_t *start", "uint64_t length", "char *name"],

  // virtio_blk.c
  molt_disk_create: [
    "int64_t",
    "uint64_t memory",
    "const struct molt_disk_setup *setup",
    "const uint64_t *rings",
    "const int32_t *kicks",
    "uint32_t count",
    "int32_t attention",
  ],
  molt_disk_start: ["void", "uint64_t handle", "uint32_t index"],
  molt_disk_stop: ["int32_t", "uint64_t handle", "uint32_t index", "int64_t deadline"],
  molt_disk_is_busy: ["int32_t", "uint64_t handle", "uint32_t index"],
  molt_disk_destroy: ["void", "uint64_t handle"],
  molt_disk_set_write_cache: ["void", "uint64_t handle", "uint32_t on"],
  molt_disk_set_size: ["void", "uint64_t handle", "uint64_t size"],
  molt_disk_errors: ["uint32_t", "uint64_t handle", "struct molt_disk_error *errors"],
  molt_disk_read_statistics: ["void", "uint64_t handle", "uint64_t *values"],
  molt_disk_kept: [
    "int32_t",
    "uint64_t handle",
    "uint32_t index",
    "uint32_t nth",
    "struct molt_element *element",
  ],
  molt_disk_keep: [
    "int32_t",
    "uint64_t handle",
    "uint32_t index",
    "uint32_t head",
    "const struct molt_buffer *buffers",
    "uint32_t out_count",
    "uint32_t in_count",
  ],
  molt_disk_forget: ["void", "uint64_t handle", "uint32_t index"],

  // virtio_net.c
  molt_net_create: [
    "int64_t",
    "const uint64_t *rings",
    "const int32_t *kicks",
    "uint32_t count",
    "int32_t attention",
  ],
  molt_net_destroy: ["void", "uint64_t handle"],
  molt_net_connect: [
    "void",
    "uint64_t handle",
    "uint32_t index",
    "uint32_t kind",
    "int32_t fd",
    "const void *peer",
    "uint32_t peer_length",
  ],
  molt_net_negotiate: ["void", "uint64_t handle", "uint32_t header", "uint32_t merged"],
  molt_net_set_filter: ["void", "uint64_t handle", "const struct molt_net_filter *filter"],
  molt_net_set_link: ["void", "uint64_t handle", "uint32_t up"],
  molt_net_start: ["void", "uint64_t handle", "uint32_t index"],
  molt_net_stop: ["void", "uint64_t handle", "uint32_t index", "int64_t deadline"],
  molt_net_send: ["int32_t", "uint64_t handle", "void *frame", "uint32_t length"],
  molt_net_lost: ["int32_t", "uint64_t handle", "uint32_t index"],
} as const;
