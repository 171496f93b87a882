/** The `null` chardev: takes all output, gives no input. */
import { Chardev } from "./chardev.ts";

export class NullChardev extends Chardev {
  readonly filename = "null";

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    return bytes.length;
  }
}
