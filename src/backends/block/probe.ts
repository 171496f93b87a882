/**
 * What format an image has for which none was given. molt knows only raw: an image of another format is
 * refused, because a guest that was shown its bytes would see no disk and overwrite it.
 */
import type { Fd } from "../../native/descriptor.ts";
import { imageFormat } from "../../native/disk.ts";
import { readAt } from "../../native/file.ts";
import { Mapping } from "../../native/mapping.ts";
import { ImageError } from "./errors.ts";

/** A piece that O_DIRECT reads too. */
const PAGE = 4096;

/** Throws an {@linkcode ImageError} if the image `path`, open as `fd`, looks like one that is not raw. */
export function refuseOtherFormats(fd: Fd, path: string): void {
  using page = new Mapping({ kind: "anonymous" }, PAGE, "a page for the image's beginning");
  const length = readAt(fd, page.bytes, 0);
  // As QEMU's probing: this format has its mark at the end of the file, and is known by the name.
  const format = path.endsWith(".dmg") ? "dmg" : imageFormat(page.bytes.subarray(0, length));
  if (format === undefined) return;
  throw new ImageError(
    `'${path}' is an image of the format ${format}, and molt has only raw ones: convert it with ` +
      `'qemu-img convert -O raw', or add 'format=raw' if the guest is to see it as it is`,
  );
}
