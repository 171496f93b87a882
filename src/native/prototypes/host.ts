/** What the library does with the host: files, sockets, processes, terminals, threads, waits. */

/** Functions that return soon. The isolate calls them. */
export const hostPrototypes = {
  // abi.c
  molt_abi: ["int64_t", "char *text", "uint64_t room"],

  // wait.c
  molt_doorbell_create: ["int64_t"],
  molt_doorbell_destroy: ["void", "uint64_t handle"],
  molt_doorbell_wake: ["void", "uint64_t handle"],
  molt_epoll_control: [
    "int32_t",
    "uint64_t handle",
    "int32_t operation",
    "int32_t fd",
    "uint32_t events",
    "uint32_t token",
  ],
  molt_wait: [
    "int32_t",
    "uint64_t handle",
    "int64_t timeout_us",
    "struct molt_wait_result *result",
  ],
  molt_wait_vcpus: ["uint32_t", "uint64_t handle"],

  // control.c
  molt_ioctl: ["int32_t", "int32_t fd", "uint64_t request", "void *argument"],
  molt_ioctl_value: ["int32_t", "int32_t fd", "uint64_t request", "uint64_t value"],

  // file.c
  molt_open: ["int32_t", "const char *path", "int32_t flags", "uint32_t mode"],
  molt_close: ["int32_t", "int32_t fd"],
  molt_read: ["int64_t", "int32_t fd", "void *buffer", "uint64_t length"],
  molt_write: ["int64_t", "int32_t fd", "const void *buffer", "uint64_t length"],
  molt_pread: ["int64_t", "int32_t fd", "void *buffer", "uint64_t length", "int64_t offset"],
  molt_pwrite: ["int64_t", "int32_t fd", "const void *buffer", "uint64_t length", "int64_t offset"],
  molt_seek: ["int64_t", "int32_t fd", "int64_t offset", "int32_t whence"],
  molt_truncate: ["int32_t", "int32_t fd", "int64_t length"],
  molt_allocate: ["int32_t", "int32_t fd", "int32_t mode", "int64_t offset", "int64_t length"],
  molt_stat: ["int32_t", "int32_t fd", "void *stat"],
  molt_stat_path: ["int32_t", "const char *path", "void *stat"],
  molt_set_mode: ["int32_t", "int32_t fd", "uint32_t mode"],
  molt_rename: ["int32_t", "const char *from", "const char *to"],
  molt_unlink: ["int32_t", "const char *path"],
  molt_link: ["int32_t", "int32_t fd", "const char *path"],
  molt_symlink: ["int32_t", "const char *target", "const char *path"],
  molt_readlink: ["int64_t", "const char *path", "char *buffer", "uint64_t size"],
  molt_get_flags: ["int32_t", "int32_t fd"],
  molt_set_flags: ["int32_t", "int32_t fd", "int32_t flags"],
  molt_get_cloexec: ["int32_t", "int32_t fd"],
  molt_set_cloexec: ["int32_t", "int32_t fd", "int32_t on"],
  molt_duplicate: ["int32_t", "int32_t fd"],
  molt_duplicate_onto: ["int32_t", "int32_t from", "int32_t to"],
  molt_lock: ["int32_t", "int32_t fd", "int32_t type", "int64_t offset", "int64_t length"],
  molt_lock_conflicts: ["int32_t", "int32_t fd", "int64_t offset", "int64_t length"],
  molt_memfd: ["int32_t", "const char *name", "uint32_t flags"],
  molt_add_seals: ["int32_t", "int32_t fd", "int32_t seals"],
  molt_map: [
    "int64_t",
    "uint64_t length",
    "int32_t protection",
    "int32_t flags",
    "int32_t fd",
    "int64_t offset",
  ],
  molt_unmap: ["int32_t", "uint64_t address", "uint64_t length"],

  // memory_guard.c
  molt_guard_add: ["int32_t", "uint64_t address", "uint64_t length", "uint64_t page"],
  molt_guard_remove: ["void", "int32_t guard"],
  molt_guard_faults: ["uint32_t", "int32_t guard"],
  molt_guard_latest: ["uint64_t"],
  molt_guard_watch: ["void", "int32_t fd"],

  // file.c
  molt_advise: ["int32_t", "uint64_t address", "uint64_t length", "int32_t advice"],
  molt_pipe: ["int32_t", "int32_t *ends", "int32_t flags"],
  molt_eventfd: ["int32_t"],
  molt_timerfd: ["int32_t"],
  molt_timerfd_set: ["int32_t", "int32_t fd", "int64_t expiry"],
  molt_clock: ["int64_t", "int32_t clock"],
  molt_poll: ["int32_t", "int32_t fd", "int32_t events", "int32_t timeout_ms"],
  molt_poll_busily: ["int32_t", "int32_t fd", "int32_t events", "int64_t timeout_ns"],

  // socket.c
  molt_socket: ["int32_t", "int32_t domain", "int32_t type"],
  molt_socketpair: ["int32_t", "int32_t type", "int32_t *ends"],
  molt_bind: ["int32_t", "int32_t fd", "const void *address", "uint32_t length"],
  molt_listen: [
    "int32_t",
    "int32_t fd",
    "const void *address",
    "uint32_t length",
    "int32_t backlog",
  ],
  molt_accept: ["int32_t", "int32_t fd"],
  molt_connect: ["int32_t", "int32_t fd", "const void *address", "uint32_t length"],
  molt_socket_error: ["int32_t", "int32_t fd"],
  molt_socket_option: ["int32_t", "int32_t fd", "int32_t level", "int32_t option", "int32_t value"],
  molt_join_group: ["int32_t", "int32_t fd", "const void *group", "const void *interface"],
  molt_get_socket_option: ["int32_t", "int32_t fd", "int32_t level", "int32_t option"],
  molt_shutdown: ["int32_t", "int32_t fd", "int32_t how"],
  molt_socket_name: ["int32_t", "int32_t fd", "int32_t peer", "void *address", "uint32_t size"],
  molt_send: [
    "int64_t",
    "int32_t fd",
    "const void *buffer",
    "uint64_t length",
    "const int32_t *descriptors",
    "uint32_t count",
  ],
  molt_receive: [
    "int64_t",
    "int32_t fd",
    "void *buffer",
    "uint64_t length",
    "int32_t flags",
    "int32_t *descriptors",
    "uint32_t *count",
  ],

  // thread_pool.c
  molt_pool_event: ["int32_t"],
  molt_pool_find: ["int32_t", "const char *name"],
  molt_pool_call: [
    "int32_t",
    "uint32_t index",
    "const uint64_t *arguments",
    "uint32_t count",
    "uint64_t token",
  ],
  molt_pool_take: ["uint32_t", "struct molt_completion *completions", "uint32_t room"],

  // thread.c
  molt_schedule_as_batch: ["int32_t", "const char *name"],

  // process.c
  molt_close_on_exec_from: ["int32_t", "int32_t first"],
  molt_exec: [
    "int32_t",
    "const char *command",
    "const char *arguments",
    "uint32_t argument_count",
    "const char *environment",
    "uint32_t environment_count",
  ],
  molt_spawn: [
    "int32_t",
    "const char *command",
    "const char *arguments",
    "uint32_t argument_count",
    "const char *environment",
    "uint32_t environment_count",
    "const int32_t *map",
    "uint32_t map_count",
    "int32_t session",
  ],
  molt_open_process: ["int32_t", "int32_t pid"],
  molt_wait_child: ["int32_t", "int32_t pid", "int32_t *status", "int32_t flags"],
  molt_kill: ["int32_t", "int32_t pid", "int32_t signal"],
  molt_change_directory: ["int32_t", "const char *path"],
  molt_process_id: ["int32_t"],
  molt_parent_id: ["int32_t"],
  molt_parent_death_signal: ["int32_t", "int32_t signal"],
  molt_set_memory_layout: ["int32_t", "int32_t field", "uint64_t address"],
  molt_process_name: ["int32_t", "const char *name"],
  molt_getenv: ["int64_t", "const char *name", "char *buffer", "uint64_t size"],
  molt_unsetenv: ["int32_t", "const char *name"],
  molt_environment: ["int64_t", "char *buffer", "uint64_t size", "uint32_t *count"],

  // terminal.c
  molt_terminal_raw: ["int32_t", "int32_t fd", "int32_t signals"],
  molt_terminal_restore: ["void"],
  molt_isatty: ["int32_t", "int32_t fd"],
  molt_openpty: ["int32_t", "int32_t *ends", "char *name", "uint64_t size"],
} as const;

/** Calls that hold a thread of the runtime's while they wait: for whatever the event loop waits for. */
export const waitPrototypes = {
  // wait.c
  molt_wait_idle: ["int32_t", "uint64_t handle", "int64_t timeout_us"],
  molt_yield: ["void"],
} as const;
