/** Listens for signals when so many descriptors are left, and prints what comes of it. */
import { Descriptor } from "../../../src/native/descriptor.ts";
import { SystemError, unwrap } from "../../../src/native/errors.ts";
import { native } from "../../../src/native/library.ts";
import { onEndSignals } from "../../../src/process/signals.ts";

const opened: Descriptor[] = [];
try {
  for (;;) opened.push(new Descriptor(unwrap(native.molt_eventfd(), "no more")));
} catch (error) {
  if (!(error instanceof SystemError)) throw error;
}
for (const descriptor of opened.splice(0, Number(Deno.args[0]))) descriptor[Symbol.dispose]();
try {
  onEndSignals(() => {})[Symbol.dispose]();
  console.log("done");
} catch (error) {
  if (!(error instanceof SystemError)) throw error;
  console.log(error.message);
}
