import { assertEquals } from "@std/assert";
import { imageFormat } from "../../../src/native/disk.ts";

const encoder = new TextEncoder();

/** The first sector of an image: each of `parts` at its offset. */
function sector(
  parts: Readonly<Record<number, string | readonly number[]>>,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(512);
  for (const [offset, part] of Object.entries(parts)) {
    bytes.set(typeof part === "string" ? encoder.encode(part) : part, Number(offset));
  }
  return bytes;
}

const qfi = [0x51, 0x46, 0x49, 0xfb];
const cloop =
  "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

/** What QEMU 11.1 takes them for. */
const images: [expected: string | undefined, Uint8Array<ArrayBuffer>][] = [
  ["qcow", sector({ 0: [...qfi, 0, 0, 0, 1] })],
  ["qcow2", sector({ 0: [...qfi, 0, 0, 0, 2] })],
  ["qcow2", sector({ 0: [...qfi, 0, 0, 0, 3] })],
  [undefined, sector({ 0: [...qfi, 0, 0, 0, 0] })],
  ["qed", sector({ 0: "QED\0" })],
  ["luks", sector({ 0: [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1] })],
  [undefined, sector({ 0: [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 2] })],
  ["parallels", sector({ 0: "WithoutFreeSpace", 16: [2] })],
  ["parallels", sector({ 0: "WithouFreSpacExt", 16: [2] })],
  [undefined, sector({ 0: "WithoutFreeSpace", 16: [3] })],
  ["vdi", sector({ 0: "<<< Oracle VM VirtualBox Disk Image >>>\n", 64: [0x7f, 0x10, 0xda, 0xbe] })],
  ["vhdx", sector({ 0: "vhdxfile" })],
  ["vmdk", sector({ 0: "COWD" })],
  ["vmdk", sector({ 0: "KDMV" })],
  ["vmdk", sector({ 0: "# Disk DescriptorFile\nversion=1\nCID=1\n" })],
  ["vmdk", sector({ 0: "# Disk DescriptorFile\r\n  \r\nversion=3\r\n" })],
  [undefined, sector({ 0: "# a script\nversion=4\n" })],
  [undefined, sector({ 0: "#!/bin/sh\necho\n" })],
  ["vpc", sector({ 0: "conectix" })],
  ["cloop", sector({ 0: cloop })],
  ["bochs", sector({ 0: "Bochs Virtual HD Image", 32: "Redolog", 48: "Growing", 64: [0, 0, 2] })],
  [undefined, sector({ 0: "Bochs Virtual HD Image", 32: "Redolog", 48: "Growing", 64: [0, 0, 3] })],
  [undefined, sector({ 510: [0x55, 0xaa] })],
  [undefined, new Uint8Array(0)],
  [undefined, Uint8Array.of(...qfi)],
  [undefined, encoder.encode("#")],
  [undefined, encoder.encode("version=1")],
];

Deno.test("an image's format is known by its first sector, as QEMU's drivers know it", () => {
  for (const [expected, start] of images) {
    assertEquals(imageFormat(start), expected, new TextDecoder().decode(start.subarray(0, 40)));
  }
});

Deno.test("beginnings of all lengths are looked at, and no further", () => {
  for (const [, start] of images) {
    for (let length = 0; length <= start.length; length++) imageFormat(start.slice(0, length));
  }
});
