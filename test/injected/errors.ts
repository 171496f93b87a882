/** What each system call may fail with on a host that is short of something, or whose peer disconnects. */
import { type Call, futex } from "./interposer.ts";

const EPERM = 1;
const EINTR = 4;
const EIO = 5;
const EAGAIN = 11;
const ENOMEM = 12;
const EACCES = 13;
const EBUSY = 16;
const ENODEV = 19;
const EINVAL = 22;
const EMFILE = 24;
const ENOSPC = 28;
const EROFS = 30;
const EPIPE = 32;
const ENOSYS = 38;
const EADDRINUSE = 98;
const ENETUNREACH = 101;
const ECONNABORTED = 103;
const ECONNRESET = 104;
const ENOBUFS = 105;
const ENOTCONN = 107;
const ECONNREFUSED = 111;
/** Of getaddrinfo: temporary failure, no memory. */
const EAI_AGAIN = -3;
const EAI_MEMORY = -10;

const errors: Readonly<Record<string, readonly number[]>> = {
  accept4: [EMFILE, ECONNABORTED, EINTR, ENOMEM],
  aligned_alloc: [ENOMEM],
  bind: [EADDRINUSE, EACCES, ENOSPC],
  calloc: [ENOMEM],
  chdir: [EACCES],
  close: [EIO, ENOSPC],
  connect: [ECONNREFUSED, EAGAIN, ENETUNREACH, EACCES],
  dlopen: [ENOMEM],
  dup2: [EBUSY, EMFILE],
  epoll_create1: [EMFILE, ENOMEM],
  epoll_ctl: [ENOSPC, ENOMEM],
  epoll_pwait2: [EINTR],
  eventfd: [EMFILE, ENOMEM],
  // It fails only when the counter is full, and whoever waits awake anyway.
  eventfd_write: [],
  execvpe: [EACCES, ENOMEM],
  fallocate: [ENOSPC, EIO, EINTR],
  fchmod: [EPERM, EROFS],
  fcntl: [ENOMEM, EINTR],
  fdatasync: [EIO, ENOSPC],
  fopen: [EMFILE],
  fstat: [ENOMEM],
  fsync: [EIO, ENOSPC],
  ftruncate: [ENOSPC, EIO, EINTR],
  getaddrinfo: [EAI_AGAIN, EAI_MEMORY],
  getpeername: [ENOTCONN, ENOBUFS],
  getsockname: [ENOBUFS],
  getsockopt: [ENOMEM],
  ioctl: [EIO, ENOMEM, EINTR, EINVAL],
  kill: [EPERM],
  linkat: [EACCES, ENOSPC],
  listen: [EADDRINUSE],
  lseek: [EIO],
  lstat: [ENOMEM, EACCES],
  madvise: [ENOMEM, EAGAIN],
  malloc: [ENOMEM],
  memfd_create: [EMFILE, ENOMEM],
  mmap: [ENOMEM, EAGAIN],
  munmap: [ENOMEM],
  open: [EMFILE, EACCES, ENOMEM, EINTR],
  opendir: [EMFILE],
  openpty: [ENOSPC],
  pipe2: [EMFILE],
  poll: [EINTR, ENOMEM],
  ppoll: [EINTR, ENOMEM],
  posix_spawnp: [EAGAIN, ENOMEM],
  prctl: [EPERM],
  pread: [EIO, EINTR],
  preadv: [EIO, EINTR],
  preadv2: [EIO, EINTR, ENOMEM],
  pthread_create: [EAGAIN],
  pwrite: [ENOSPC, EIO, EINTR],
  pwritev: [ENOSPC, EIO, EINTR],
  pwritev2: [ENOSPC, EIO, EINTR],
  read: [EIO, EINTR, EAGAIN],
  readlink: [ENOMEM, EACCES],
  readv: [EIO, EINTR, ECONNRESET],
  recv: [ECONNRESET, EAGAIN, EINTR],
  recvmsg: [ECONNRESET, EAGAIN, EINTR, ENOMEM],
  rename: [ENOSPC, EROFS],
  sched_setscheduler: [EPERM],
  send: [EPIPE, EAGAIN, ENOBUFS],
  sendmsg: [EPIPE, EAGAIN, ECONNRESET, ENOBUFS],
  setsockopt: [ENOMEM],
  shutdown: [ENOTCONN],
  socket: [EMFILE, ENOBUFS],
  socketpair: [EMFILE],
  symlink: [ENOSPC, EACCES],
  syscall: [EINTR],
  tcgetattr: [EIO],
  tcsetattr: [EIO, EINTR],
  timerfd_create: [EMFILE, ENODEV],
  timerfd_settime: [EINVAL],
  unlink: [EBUSY, EROFS],
  waitpid: [EINTR],
  write: [ENOSPC, EIO, EINTR, EPIPE],
  writev: [EPIPE, EIO, EAGAIN],
};

/** Where a call's uses differ. */
const selected: Readonly<Record<string, readonly number[]>> = {
  // FUTEX_WAIT_PRIVATE: a spurious end of the wait is allowed. FUTEX_WAKE_PRIVATE does not fail.
  [`syscall ${futex(128)}`]: [EINTR, EAGAIN],
  [`syscall ${futex(129)}`]: [],
  // close_range: a kernel without it.
  "syscall 436": [EINVAL, ENOSYS],
  // F_GETFD, F_SETFD
  "fcntl 1": [EINTR],
  "fcntl 2": [EINTR],
  // F_OFD_SETLK, F_OFD_GETLK
  "fcntl 36": [EAGAIN],
  "fcntl 37": [EAGAIN, ENOMEM],
  "fcntl 1030": [EMFILE],
  // KVM_RUN
  [`ioctl ${0xae80}`]: [EINTR, EAGAIN, EIO, ENOMEM],
  // KVM_CREATE_VM, KVM_CREATE_VCPU
  [`ioctl ${0xae01}`]: [EMFILE, ENOMEM, EBUSY],
  [`ioctl ${0xae41}`]: [EMFILE, ENOMEM, EINTR],
};

/** The errors to have `call` fail with; none: it does not fail. */
export function errorsOf({ name, selector }: Call): readonly number[] {
  const found = selected[`${name} ${selector >>> 0}`] ?? errors[name];
  if (found === undefined) throw new Error(`no error is known that '${name}' fails with`);
  return found;
}
