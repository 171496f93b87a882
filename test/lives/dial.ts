/** Clients of a life's sockets. */

/** Connects to a unix socket. Whose queue is full (of those that were here just before) is tried again. */
export async function dial(path: string): Promise<Deno.UnixConn> {
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
