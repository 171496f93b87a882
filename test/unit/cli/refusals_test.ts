import { assertEquals, assertThrows } from "@std/assert";
import { isSubcommand, parseCommandLine } from "../../../src/cli/parse.ts";
import { InformationRequest } from "../../../src/cli/information.ts";
import { OptionError } from "../../../src/configuration/errors.ts";

/** What QEMU does and molt does not: the words of the command line, and what must be in the complaint. */
const refusals: readonly (readonly [argv: string, ...parts: string[]])[] = [
  ["-M q35", "q35", "-machine help"],
  ["-M usb=on", "-M usb=on: 'usb=on'", "no USB"],
  ["-M pcie=on", "'pcie=on'", "-device"],
  ["-dtb x -kernel y", "-dtb x: 'dtb=x'", "no device tree"],
  ["-accel tcg", "-accel tcg", "use '-accel kvm'"],
  ["-M accel=tcg:xen", "accelerator tcg", "use '-accel kvm'"],
  ["-accel kvm,kernel-irqchip=off", "'kernel-irqchip=off'", "split"],
  ["-cpu Skylake-Server", "Skylake-Server", "-cpu host"],
  ["-smp 9", "9", "is 8"],
  ["-object secret,id=a,data=x", "secret", "not encrypted"],
  ["-object memory-backend-ram,id=a,size=1M,policy=bind", "'policy=bind'", "numactl"],
  ["-object memory-backend-file,id=a,size=1M,mem-path=/x,pmem=on", "'pmem=on'", "leave it off"],
  ["-display vnc=:1", "-display vnc=:1", "vnc", "-display none"],
  ["-display sdl", "sdl", "-display none"],
  ["-vga std", "-vga std", "-vga none"],
  ["-sandbox on", "-sandbox on", "SystemCallFilter"],
  ["-run-with chroot=/x", "'chroot=/x'", "chroot DIRECTORY molt"],
  ["-run-with user=nobody", "'user=nobody'", "setpriv"],
  ["-overcommit mem-lock=on", "'mem-lock=on'", "huge pages"],
  ["-d cpu_reset", "'cpu_reset'", "info registers"],
  ["-icount shift=3", "-icount shift=3", "KVM"],
  ["-smbios type=1", "-smbios type=1", "board's own"],
  ["-parallel stdio", "-parallel stdio", "-parallel none"],
  ["-drive file=x,format=qcow2", "qcow2", "qemu-img convert"],
  ["-drive file=x,format=raw,if=virtio", "if=virtio", "virtio-blk-device"],
  ["-drive file=x,format=raw,snapshot=on", "'snapshot=on'", "copy"],
  ["-drive file=x,format=raw,iops=100", "'iops=100'", "cgroups"],
  ["-blockdev qcow2,node-name=a,file=x", "qcow2", "qemu-img convert"],
  ...["-netdev user,id=a", "-nic user", "-net user", "-nic user,hostfwd=tcp::22-:22"].map((
    argv,
  ) => [argv, argv, "passt --socket", "-netdev stream,id=net0", "netdev=net0"] as const),
  ["-netdev tap,id=a,vhost=on", "'vhost=on'", "leave it off"],
  [
    "-nic tap,ifname=t,mac=52:54:00:12:34:56,model=virtio",
    "'-netdev tap,id=net0,ifname=t' and '-device virtio-net-device,netdev=net0,mac=52:54:00:12:34:56'",
  ],
  ["-net nic", "'-netdev TYPE,id=net0,...' and '-device virtio-net-device,netdev=net0'"],
  ["-device virtio-net-pci", "virtio-net-pci", "virtio-net-device"],
  ["-device virtio-net-device,packed=on", "'packed=on'", "split virtqueues"],
  ["-global fw_cfg_io.dma_enabled=off", "fw_cfg_io.dma_enabled=off", "-machine"],
  ["-incoming cpr,addr.transport=socket,addr.type=unix,addr.path=/p", "cpr", "-incoming defer"],
  ["-d in_asm", "in_asm", "guest_errors"],
  ["-gdb tcp::1234", "-gdb tcp::1234", "monitor"],
  ["-loadvm x", "-loadvm x", "-incoming"],
  ["-readconfig x", "-readconfig x"],
];

Deno.test("what molt cannot do is refused with the option, the value and what to do instead", () => {
  for (const [text, ...parts] of refusals) {
    const error = assertThrows(() => parseCommandLine(text.split(" ")), OptionError);
    const complaint = `${error.message}\n${error.hint ?? ""}`;
    for (const part of parts) assertEquals(complaint.includes(part), true, complaint);
    assertEquals(error.message.includes("\n"), false, error.message);
  }
});

/** Small generator of numbers (mulberry32), so that a failure can be repeated. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) % limit;
  };
}

const options = [
  ...["-M", "-accel", "-m", "-smp", "-boot", "-object", "-chardev", "-serial", "-mon", "-name"],
  ...["-drive", "-blockdev", "-netdev", "-device", "-incoming", "-global", "-rtc", "-fw_cfg"],
];
const pieces = [
  ...["microvm", "kvm", "512", "id=a", "size=1M", "memory-backend-ram", "file=x", "format=raw"],
  ...["null", "virtio-rng-device", "tap", "addr.type=unix", "addr.path=/p", "on", "off", "help"],
  ...["=", ",", ",,", ".", ":", "{", "}", '"', "'", "[", "]", "\\", "\0", "é", "0x", "-", "%"],
  ...["__proto__", "constructor", "cpus=2", "smp.cpus", "a.0=1", "raw", "driver=", "node-name=a"],
];

Deno.test("whatever is written, there is a configuration, an answer or one complaint", () => {
  const seed = 20260727;
  const random = generator(seed);
  for (let round = 0; round < 5000; round++) {
    const argv: string[] = [];
    for (let count = 1 + random(3); count > 0; count--) {
      const text = Array.from({ length: random(7) }, () => pieces[random(pieces.length)]);
      const join = random(3) === 0 ? "" : ",";
      argv.push(options[random(options.length)]!, text.join(join));
    }
    try {
      parseCommandLine(argv);
    } catch (error) {
      const expected = error instanceof OptionError || error instanceof InformationRequest;
      if (!expected) throw new Error(`seed ${seed}: ${JSON.stringify(argv)}`, { cause: error });
    }
  }
});

Deno.test("molt's own commands are distinguished from options and disk images", () => {
  assertEquals(isSubcommand(["inspect", "file"]), true);
  assertEquals(isSubcommand(["-S"]), false);
  assertEquals(isSubcommand(["disk.img"]), false);
  assertEquals(isSubcommand([]), false);
});
