/**
 * The C library's entry points as Deno sees them: the one foreign-function table of the program.
 * What each function does stands beside its definition in ffi/. The C type of a parameter follows
 * from its name there; `buffer` is a pointer to bytes that TypeScript owns for the call's duration.
 */

const i32 = "i32";
const u32 = "u32";
const i64 = "i64";
const u64 = "u64";
const buffer = "buffer";

/** Every symbol of libmolt.so. Names without the `molt_` prefix are variants of the named symbol. */
export const symbols = {
  // abi.c
  molt_abi: { parameters: [buffer], result: i32 },

  // wait.c
  molt_doorbell_create: { parameters: [], result: i64 },
  molt_doorbell_destroy: { parameters: [u64], result: "void" },
  molt_doorbell_wake: { parameters: [u64], result: "void" },
  molt_epoll_control: { parameters: [u64, i32, i32, u32, u32], result: i32 },
  molt_wait: { parameters: [u64, i64, buffer], result: i32 },
  // The one call that waits on a thread of the runtime's: for whatever the event loop waits for.
  molt_wait_idle: { parameters: [u64, i64], result: i32, nonblocking: true },
  molt_yield: { parameters: [], result: "void", nonblocking: true },
  molt_wait_vcpus: { parameters: [u64], result: u32 },

  // vcpu.c
  molt_vcpu_create: { parameters: [i32, u64, u32, u64], result: i64 },
  molt_vcpu_run: { parameters: [u64], result: u64 },
  molt_vcpu_thread_id: { parameters: [u64], result: i32 },
  molt_vcpu_resume: { parameters: [u64], result: "void" },
  molt_vcpu_kick: { parameters: [u64], result: "void" },
  molt_vcpu_sleep: { parameters: [u64, i64], result: "void" },
  molt_vcpu_destroy: { parameters: [u64], result: "void" },

  // control.c
  molt_ioctl: { parameters: [i32, u64, buffer], result: i32 },
  molt_ioctl_value: { parameters: [i32, u64, u64], result: i32 },

  // file.c
  molt_open: { parameters: [buffer, i32, u32], result: i32 },
  molt_close: { parameters: [i32], result: i32 },
  molt_read: { parameters: [i32, buffer, u64], result: i64 },
  molt_write: { parameters: [i32, buffer, u64], result: i64 },
  molt_pread: { parameters: [i32, buffer, u64, i64], result: i64 },
  molt_pwrite: { parameters: [i32, buffer, u64, i64], result: i64 },
  molt_seek: { parameters: [i32, i64, i32], result: i64 },
  molt_truncate: { parameters: [i32, i64], result: i32 },
  molt_allocate: { parameters: [i32, i32, i64, i64], result: i32 },
  molt_stat: { parameters: [i32, buffer], result: i32 },
  molt_stat_path: { parameters: [buffer, buffer], result: i32 },
  molt_set_mode: { parameters: [i32, u32], result: i32 },
  molt_rename: { parameters: [buffer, buffer], result: i32 },
  molt_unlink: { parameters: [buffer], result: i32 },
  molt_link: { parameters: [i32, buffer], result: i32 },
  molt_symlink: { parameters: [buffer, buffer], result: i32 },
  molt_readlink: { parameters: [buffer, buffer, u64], result: i64 },
  molt_get_flags: { parameters: [i32], result: i32 },
  molt_set_flags: { parameters: [i32, i32], result: i32 },
  molt_get_cloexec: { parameters: [i32], result: i32 },
  molt_set_cloexec: { parameters: [i32, i32], result: i32 },
  molt_duplicate: { parameters: [i32], result: i32 },
  molt_duplicate_onto: { parameters: [i32, i32], result: i32 },
  molt_lock: { parameters: [i32, i32, i64, i64], result: i32 },
  molt_lock_conflicts: { parameters: [i32, i64, i64], result: i32 },
  molt_memfd: { parameters: [buffer, u32], result: i32 },
  molt_add_seals: { parameters: [i32, i32], result: i32 },
  molt_map: { parameters: [u64, i32, i32, i32, i64], result: i64 },
  molt_unmap: { parameters: [u64, u64], result: i32 },
  molt_guard_add: { parameters: [u64, u64, u64], result: i32 },
  molt_guard_remove: { parameters: [i32], result: "void" },
  molt_guard_faults: { parameters: [i32], result: u32 },
  molt_guard_latest: { parameters: [], result: u64 },
  molt_guard_watch: { parameters: [i32], result: "void" },
  molt_advise: { parameters: [u64, u64, i32], result: i32 },
  molt_pipe: { parameters: [buffer, i32], result: i32 },
  molt_eventfd: { parameters: [], result: i32 },
  molt_timerfd: { parameters: [], result: i32 },
  molt_timerfd_set: { parameters: [i32, i64], result: i32 },
  molt_clock: { parameters: [i32], result: i64 },
  molt_poll: { parameters: [i32, i32, i32], result: i32 },
  molt_poll_busily: { parameters: [i32, i32, i64], result: i32 },

  // socket.c
  molt_socket: { parameters: [i32, i32], result: i32 },
  molt_socketpair: { parameters: [i32, buffer], result: i32 },
  molt_bind: { parameters: [i32, buffer, u32], result: i32 },
  molt_listen: { parameters: [i32, buffer, u32, i32], result: i32 },
  molt_accept: { parameters: [i32], result: i32 },
  molt_connect: { parameters: [i32, buffer, u32], result: i32 },
  molt_socket_error: { parameters: [i32], result: i32 },
  molt_socket_option: { parameters: [i32, i32, i32, i32], result: i32 },
  molt_join_group: { parameters: [i32, buffer, buffer], result: i32 },
  molt_get_socket_option: { parameters: [i32, i32, i32], result: i32 },
  molt_shutdown: { parameters: [i32, i32], result: i32 },
  molt_socket_name: { parameters: [i32, i32, buffer, u32], result: i32 },
  molt_send: { parameters: [i32, buffer, u64, buffer, u32], result: i64 },
  molt_receive: { parameters: [i32, buffer, u64, i32, buffer, buffer], result: i64 },

  // thread_pool.c
  molt_pool_event: { parameters: [], result: i32 },
  molt_pool_find: { parameters: [buffer], result: i32 },
  molt_pool_call: { parameters: [u32, buffer, u32, u64], result: i32 },
  molt_pool_take: { parameters: [buffer, u32], result: u32 },

  // thread.c
  molt_schedule_as_batch: { parameters: [buffer], result: i32 },

  // process.c
  molt_close_on_exec_from: { parameters: [i32], result: i32 },
  molt_exec: { parameters: [buffer, buffer, u32, buffer, u32], result: i32 },
  molt_spawn: { parameters: [buffer, buffer, u32, buffer, u32, buffer, u32, i32], result: i32 },
  molt_open_process: { parameters: [i32], result: i32 },
  molt_wait_child: { parameters: [i32, buffer, i32], result: i32 },
  molt_kill: { parameters: [i32, i32], result: i32 },
  molt_change_directory: { parameters: [buffer], result: i32 },
  molt_process_id: { parameters: [], result: i32 },
  molt_parent_id: { parameters: [], result: i32 },
  molt_parent_death_signal: { parameters: [i32], result: i32 },
  molt_set_memory_layout: { parameters: [i32, u64], result: i32 },
  molt_process_name: { parameters: [buffer], result: i32 },
  molt_getenv: { parameters: [buffer, buffer, u64], result: i64 },
  molt_unsetenv: { parameters: [buffer], result: i32 },
  molt_environment: { parameters: [buffer, u64, buffer], result: i64 },

  // terminal.c
  molt_terminal_raw: { parameters: [i32, i32], result: i32 },
  molt_terminal_restore: { parameters: [], result: "void" },
  molt_isatty: { parameters: [i32], result: i32 },
  molt_openpty: { parameters: [buffer, buffer, u64], result: i32 },
  // dirty.c
  molt_dirty_rings_harvest: { parameters: [i32, u64, u32, u64, u32], result: i32 },

  // ram_load.c
  molt_ram_load: { parameters: [buffer, u64, u64, u32, buffer], result: u64 },

  // multifd.c
  molt_multifd_create: { parameters: [u32, i32], result: i64 },
  molt_multifd_destroy: { parameters: [u64], result: "void" },
  molt_multifd_error: { parameters: [u64], result: u64 },

  // pages.c
  molt_bitmap_count: { parameters: [u64, u64, u64], result: u64 },
  molt_bitmap_next: { parameters: [u64, u64, u64, u32], result: u64 },
  molt_bitmap_fill: { parameters: [u64, u64, u64, u32], result: "void" },
  molt_bitmap_take: { parameters: [u64, u64, u64, u64], result: "void" },
  molt_bitmap_advance: { parameters: [u64, u64, u64, u64], result: u64 },
  molt_bitmap_runs: { parameters: [u64, u64, u64, u64, buffer, u32], result: u32 },

  // virtio_memory.c
  molt_memory_create: { parameters: [buffer, u32], result: i64 },
  molt_memory_destroy: { parameters: [u64], result: "void" },
  molt_memory_record: { parameters: [u64, u32, u64, u64], result: "void" },

  // virtio_interrupt.c
  molt_interrupt_create: { parameters: [i32, i32], result: i64 },
  molt_interrupt_destroy: { parameters: [u64], result: "void" },
  molt_interrupt_attach: { parameters: [u64, u64], result: i32 },
  molt_interrupt_raise: { parameters: [u64, u32], result: "void" },
  molt_interrupt_acknowledge: { parameters: [u64, u32], result: "void" },
  molt_interrupt_restore: { parameters: [u64, u32], result: "void" },
  molt_interrupt_route: { parameters: [u64, u32, u32], result: "void" },

  // virtio_queue.c
  molt_queue_create: { parameters: [u64, u64], result: i64 },
  molt_queue_destroy: { parameters: [u64], result: "void" },
  molt_queue_begin: { parameters: [u64, buffer], result: i32 },
  molt_queue_end: { parameters: [u64], result: "void" },
  molt_queue_take: { parameters: [u64, buffer], result: i32 },
  molt_queue_put_back: { parameters: [u64], result: "void" },
  molt_queue_rewind: { parameters: [u64], result: "void" },
  molt_queue_return: { parameters: [u64, u32, u32], result: "void" },
  molt_queue_await: { parameters: [u64], result: i32 },
  molt_queue_position: { parameters: [u64], result: u32 },
  molt_queue_fault_of: { parameters: [u64], result: u32 },
  molt_queue_reject: { parameters: [u64], result: "void" },

  // virtio_blk.c
  molt_image_format: { parameters: [buffer, u64, buffer], result: "void" },
  molt_disk_create: { parameters: [u64, buffer, buffer, buffer, u32, i32], result: i64 },
  molt_disk_start: { parameters: [u64, u32], result: "void" },
  molt_disk_stop: { parameters: [u64, u32], result: "void" },
  molt_disk_destroy: { parameters: [u64], result: "void" },
  molt_disk_set_write_cache: { parameters: [u64, u32], result: "void" },
  molt_disk_set_size: { parameters: [u64, u64], result: "void" },
  molt_disk_errors: { parameters: [u64, buffer], result: u32 },
  molt_disk_read_statistics: { parameters: [u64, buffer], result: "void" },
  molt_disk_kept: { parameters: [u64, u32, u32, buffer], result: i32 },
  molt_disk_keep: { parameters: [u64, u32, u32, buffer, u32, u32], result: i32 },
  molt_disk_forget: { parameters: [u64, u32], result: "void" },

  // virtio_net.c
  molt_net_create: { parameters: [buffer, buffer, u32, i32], result: i64 },
  molt_net_destroy: { parameters: [u64], result: "void" },
  molt_net_connect: { parameters: [u64, u32, u32, i32, buffer, u32], result: "void" },
  molt_net_negotiate: { parameters: [u64, u32, u32], result: "void" },
  molt_net_set_filter: { parameters: [u64, buffer], result: "void" },
  molt_net_set_link: { parameters: [u64, u32], result: "void" },
  molt_net_start: { parameters: [u64, u32], result: "void" },
  molt_net_stop: { parameters: [u64, u32, i64], result: "void" },
  molt_net_send: { parameters: [u64, buffer, u32], result: i32 },
  molt_net_lost: { parameters: [u64, u32], result: i32 },
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * Functions that may wait for a peer, a disk or the name service, or take long: threads of the C
 * library's own call them (ffi/thread_pool.c), through `threads` in thread_pool.ts. `nonblocking` above
 * would hold one of the runtime's few threads for as long, and is for calls that wait for nobody.
 */
export const threadFunctions = {
  // file.c
  molt_sync: { parameters: [i32], result: i32 },
  molt_datasync: { parameters: [i32], result: i32 },

  // socket.c
  molt_connect_patiently: { parameters: [i32, buffer, u32, i32, i64], result: i32 },
  molt_resolve: { parameters: [buffer, buffer, i32, i32, buffer, u32], result: i32 },

  // channel.c
  molt_channel_write: { parameters: [u64, buffer, u64], result: i32 },
  molt_channel_read: { parameters: [u64, buffer, u64], result: i64 },

  // mapped_ram.c
  molt_pages_transfer: { parameters: [buffer, u32], result: i32 },

  // dirty.c
  molt_dirty_log_get: { parameters: [i32, u32, u64, u64, u64, u64], result: i32 },
  molt_dirty_log_clear: { parameters: [i32, u32, u64, u64, u64, u64, u64], result: i32 },

  // ram_stream.c
  molt_ram_send: { parameters: [u64, u64, u64, u64, u64, u64, u32, u64, u64], result: i64 },

  // ram_load.c
  molt_ram_receive: { parameters: [u64, buffer, u64, buffer, u64, u32], result: i32 },

  // multifd.c
  molt_multifd_send: {
    parameters: [u64, u64, u64, u64, u64, u64, u64, u32, u64, u64, u64],
    result: i64,
  },
  molt_multifd_send_sync: { parameters: [u64, u64, u64], result: i64 },
  molt_multifd_receive: { parameters: [u64, u64, u64, u32], result: i32 },

  // pages.c
  molt_drop_zero_pages: { parameters: [u64, u64, u64, u64], result: i64 },
  molt_drop_file_holes: { parameters: [i32, i64, u64, u64, u64], result: i64 },
  molt_drop_untouched: { parameters: [u64, u64, u64, u64], result: i32 },
} as const;
