/**
 * A program with a stdio chardev, for stdio_test.ts to run on a terminal. It echoes input in capitals;
 * its argument says how it ends when it reads `q`.
 */
import { Bench, bytesOf } from "./bench.ts";

const bench = new Bench();
const chardev = await bench.create({ backend: "stdio", signal: "off" });
const decoder = new TextDecoder();
chardev.attach({
  canReceive: () => 4096,
  receive: (bytes) => {
    const text = decoder.decode(bytes);
    chardev.write(bytesOf(text.toUpperCase()));
    if (text.includes("q")) end();
  },
  event: () => {},
});
chardev.write(bytesOf("ready\n"));

function end(): void {
  switch (Deno.args[0]) {
    case "return":
      void bench[Symbol.asyncDispose]();
      break;
    case "exit":
      Deno.exit(3);
      break;
    case "throw":
      // Beside the loop, which contains what its handlers throw.
      setTimeout(() => {
        throw new Error("thrown on purpose");
      });
      break;
    case "abort":
      Deno.kill(Deno.pid, "SIGABRT");
      break;
    case "release":
      bench.chardevs.releaseTerminal();
      chardev.write(bytesOf("released\n"));
      break;
  }
}
