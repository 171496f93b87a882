/** How the process runs: -daemonize, -pidfile, -name, -msg, -D, -trace, -add-fd. */

/** How the process runs. */
export interface ProcessConfig {
  readonly daemonize: boolean;
  readonly pidFile?: string;
  /** The process's name as ps shows it. */
  readonly name?: string;
  /** Threads are named after what they do. */
  readonly debugThreads: boolean;
  readonly exitWithParent: boolean;
}

/** -msg, -D, -d, -trace. */
export interface LogConfig {
  /** Messages start with the time. */
  readonly timestamp: boolean;
  /** Messages start with the guest's name. */
  readonly guestName: boolean;
  /** -D: where -d and -trace log to. */
  readonly file?: string;
  /** Patterns of trace events; one that begins with `-` turns events off. */
  readonly tracePatterns: readonly string[];
  /** Files with such a pattern on each line. */
  readonly traceFiles: readonly string[];
}

/** -add-fd: a descriptor that this process inherited, put into a set. */
export interface InheritedDescriptor {
  readonly fd: number;
  readonly set: number;
  readonly opaque?: string;
}
