/**
 * deno task test:rig: stock Linux in molt on AMD-V's semantics.
 *
 *   Debian packages -> images -> QEMU with a software CPU -> Debian's kernel, kvm-amd
 *   -> molt -> Debian's kernel -> results over a serial port -> a table
 */
import { cacheFolder, fetchPackages, peerQemuFolder } from "./packages.ts";
import { run, runForText } from "./commands.ts";
import { buildGuest, buildHost, buildWorker } from "./images.ts";
import { extractVmlinux } from "./kernel.ts";
import { type Level1Options, runLevel1 } from "./level1.ts";
import type { Result } from "./report.ts";
import { formatTables } from "./table.ts";

const root = new URL("../../", import.meta.url).pathname;

/** The value of an option of this program. */
function option(name: string): string | undefined {
  const start = `--${name}=`;
  return Deno.args.find((argument) => argument.startsWith(start))?.slice(start.length);
}

async function prepare(folder: string): Promise<Level1Options> {
  const packages = await fetchPackages(Deno.args.includes("--refresh"));
  await run(["sh", `${root}scripts/peer_qemu.sh`, "install"]);
  const file = (name: string) => `${folder}/${name}`;
  const vmlinux = file("vmlinux");
  await extractVmlinux(packages.kernel, packages.lz4, vmlinux);
  await compileMolt(file("molt"));
  await run(["sh", `${root}test/guests/build.sh`]);
  await run([
    ...[Deno.execPath(), "bundle", "--quiet", "--platform", "deno", "--output", file("driver.js")],
    `${root}test/rig/inside/driver.ts`,
  ]);
  await buildWorker(file("worker"));
  await buildGuest(packages, {
    folder: file("guest"),
    worker: file("worker"),
    initramfs: file("guest.initramfs"),
    disk: file("guest.ext4"),
  });
  const script = option("script");
  await buildHost(packages, {
    folder: file("host"),
    programs: {
      deno: Deno.execPath(),
      molt: file("molt"),
      passt: packages.passt,
      rig: file("worker"),
    },
    files: {
      "driver.js": file("driver.js"),
      "heartbeat.elf": `${root}build/guests/heartbeat.elf`,
      "guest.ext4": file("guest.ext4"),
      "guest.initramfs": file("guest.initramfs"),
      "vmlinux": vmlinux,
      "vmlinuz": packages.kernel,
      ...(script === undefined ? {} : { script }),
    },
    peerQemu: peerQemuFolder(),
    initramfs: file("host.initramfs"),
    disk: file("host.ext4"),
  });
  await Deno.remove(file("host"), { recursive: true });
  return {
    kernel: vmlinux,
    initramfs: file("host.initramfs"),
    disk: file("host.ext4"),
    folder,
    words: level1Words(),
    // A script says nothing there.
    silence: option("script") === undefined ? 300 : 3600,
  };
}

/** What the driver is told by the options of this program. */
function level1Words(): string[] {
  const [only, count] = [option("only"), option("count")];
  return [
    ...(Deno.args.includes("--full") ? ["rig.full"] : []),
    ...(count === undefined ? [] : [`rig.count=${count}`]),
    ...(only === undefined ? [] : [`rig.only=${encodeURIComponent(only)}`]),
  ];
}

/** As on systems where Deno's own download site cannot be reached: see scripts/compile_kit.sh. */
async function compileMolt(output: string): Promise<void> {
  const given = Deno.env.get("MOLT");
  if (given !== undefined) return await Deno.copyFile(given, output);
  const kit = await runForText(["sh", `${root}scripts/compile_kit.sh`]);
  const env = Object.fromEntries(
    [...kit.matchAll(/(\w+)='([^']*)'/g)].map(([, name = "", value = ""]) => [name, value]),
  );
  await run(["sh", `${root}scripts/compile.sh`, output], {
    env: { ...env, DENO: Deno.execPath() },
  });
}

async function main(): Promise<number> {
  await Deno.mkdir(cacheFolder(), { recursive: true });
  const folder = await Deno.makeTempDir({ prefix: "molt-rig-" });
  const results: Result[] = [];
  try {
    const started = performance.now();
    const level1 = await prepare(folder);
    console.log(`prepared in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    for await (const line of runLevel1(level1)) {
      if (line.kind === "begin") console.log(`${line.group}: ${line.name} ...`);
      if (line.kind === "step") console.log(`    ${line.text}`);
      if (line.kind === "log") console.log(`--- ${line.title}\n${line.text}\n---`);
      if (line.kind === "result") {
        const { group, name, seconds, error } = line.result;
        results.push(line.result);
        console.log(`${group}: ${name}: ${error ?? "ok"} (${seconds.toFixed(1)} s)`);
      }
    }
  } catch (error) {
    if (option("script") === undefined) console.error(error);
    console.error(await Deno.readTextFile(`${folder}/console`).catch(() => ""));
    return 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
    console.log(formatTables(results));
  }
  const failed = results.filter(({ error }) => error !== undefined).length;
  console.log(`rig | ${results.length - failed} passed | ${failed} failed`);
  return failed === 0 && results.length > 0 ? 0 : 1;
}

Deno.exit(await main());
