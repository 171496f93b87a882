/** A distribution's kernel: the ELF file in a bzImage, and modules in the order they load in. */
import { run } from "./commands.ts";

// The setup header of a bzImage (Documentation/arch/x86/boot.rst): offsets in bytes.
const SETUP_SECTORS = 0x1f1;
const SIGNATURE = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR = 512;
/** "HdrS", little-endian. */
const SIGNATURE_VALUE = 0x53726448;
/** LZ4's legacy frame format, which the kernel's build uses. */
const LZ4_MAGIC = 0x184c2102;

/** Unpacks the kernel of a bzImage into an ELF file, with Debian's `lz4`. */
export async function extractVmlinux(bzImage: string, lz4: string, output: string): Promise<void> {
  const image = await Deno.readFile(bzImage);
  const view = new DataView(image.buffer);
  if (image.length < 1024 || view.getUint32(SIGNATURE, true) !== SIGNATURE_VALUE) {
    throw new Error(`${bzImage} is not a bzImage`);
  }
  const sectors = view.getUint8(SETUP_SECTORS) || 4;
  const start = (sectors + 1) * SECTOR + view.getUint32(PAYLOAD_OFFSET, true);
  const payload = image.subarray(start, start + view.getUint32(PAYLOAD_LENGTH, true));
  const magic = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
  if (magic !== LZ4_MAGIC) {
    throw new Error(`${bzImage} is compressed in another way than LZ4: ${magic.toString(16)}`);
  }
  const packed = await Deno.makeTempFile();
  try {
    // The last four bytes are the length of the unpacked kernel.
    await Deno.writeFile(packed, payload.subarray(0, -4));
    await run([lz4, "-d", "-q", "-f", packed, output]);
  } finally {
    await Deno.remove(packed);
  }
}

/** Paths of the modules `names` below `folder` and of all that they need, in the order to load. */
export async function modulesInOrder(folder: string, names: readonly string[]): Promise<string[]> {
  const paths = new Map<string, string>();
  await collectModules(folder, paths);
  const order: string[] = [];
  const add = async (name: string): Promise<void> => {
    const path = paths.get(canonical(name));
    if (path === undefined) throw new Error(`${folder} has no module ${name}`);
    if (order.includes(path)) return;
    for (const needed of await dependencies(path)) await add(needed);
    order.push(path);
  };
  for (const name of names) await add(name);
  return order;
}

async function collectModules(folder: string, paths: Map<string, string>): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) await collectModules(path, paths);
    const name = entry.name.match(/^(.+)\.ko$/)?.[1];
    if (name !== undefined) paths.set(canonical(name), path);
  }
}

/** What a module says that it depends on, in its .modinfo section. */
async function dependencies(path: string): Promise<string[]> {
  const text = new TextDecoder("latin1").decode(await Deno.readFile(path));
  return text.match(/\0depends=([^\0]*)\0/)?.[1]?.split(",").filter((name) => name !== "") ?? [];
}

/** Dashes and underscores are the same in names of modules. */
function canonical(name: string): string {
  return name.replaceAll("-", "_");
}
