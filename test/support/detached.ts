/** Processes that scripts leave behind on purpose. */

/** Ends a process that is not a child of the test, unless it has ended, and waits for that. */
export class DetachedProcess implements AsyncDisposable {
  constructor(readonly pid: number) {}

  get alive(): boolean {
    try {
      return !/^State:\s*[ZX]/m.test(Deno.readTextFileSync(`/proc/${this.pid}/status`));
    } catch {
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.alive) return;
    Deno.kill(this.pid, "SIGKILL");
    while (this.alive) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
