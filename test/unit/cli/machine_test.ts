import { assertEquals, assertObjectMatch } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";

const MiB = 2 ** 20;

function parse(text: string) {
  return parseCommandLine(text.split(" ").filter((word) => word !== ""));
}

function microvm(text: string) {
  const { machine } = parse(text);
  if (machine.type !== "microvm") throw new Error(`machine ${machine.type}`);
  return machine;
}

Deno.test("without options there is a microvm with 128 MiB and one CPU on KVM", () => {
  const config = parse("");
  assertObjectMatch(config.machine, {
    type: "microvm",
    acpi: "auto",
    isaSerial: true,
    memoryBackend: "microvm.ram",
    auxRamShare: false,
    virtioMmio: { legacy: true, ioeventfd: true },
  });
  assertEquals(config.memory.size, 128 * MiB);
  assertEquals(config.topology.cpus, 1);
  assertObjectMatch(config.accelerators[0]!, {
    kind: "kvm",
    kernelIrqchip: "on",
    dirtyRingSize: 0,
  });
  assertEquals(config.cpu, { model: "host", features: [] });
  assertObjectMatch(config.objects[0]!, { id: "microvm.ram", kind: "ram", share: false });
  assertEquals(config.warnings, []);
});

Deno.test("the machine's properties add up over several -machine", () => {
  const machine = microvm("-machine microvm, -M acpi=off,pit=on -M pit=off,aux-ram-share=on");
  assertObjectMatch(machine, { acpi: "off", pit: "off", auxRamShare: true });
  assertEquals(parse("-machine none -accel qtest").machine, { type: "none" });
  assertEquals(parse("-M microvm -M type=none").machine, { type: "none" });
});

Deno.test("-kernel, -smp, -m and -boot are properties of the machine", () => {
  const short = parse("-kernel k -initrd i -append a -bios b -m 1G -smp 2,threads=2 -boot menu=on");
  const long = parse(
    "-M kernel=k,initrd=i,append=a,firmware=b,memory.size=1G,smp.cpus=2,smp.threads=2,boot.menu=on",
  );
  assertEquals(short, long);
  assertEquals(short.boot, { kernel: "k", initrd: "i", append: "a", firmware: "b", menu: true });
});

Deno.test("-m counts in MiB unless a suffix says otherwise, and rounds up to 8 KiB", () => {
  const size = (text: string) => parse(`-m ${text}`).memory.size;
  assertEquals(size("512"), 512 * MiB);
  assertEquals(size("size=1G"), 1024 * MiB);
  assertEquals(size("1.5G"), 1536 * MiB);
  assertEquals(size("10000k"), 10000 * 1024);
  assertEquals(size("1B"), 8192);
  assertEquals(size("0"), 128 * MiB);
  assertEquals(parse("-m 256 -m slots=2,maxmem=1G").memory, {
    size: 256 * MiB,
    slots: 2,
    maximumSize: 1024 * MiB,
  });
});

Deno.test("missing levels of -smp follow from the others, cores first", () => {
  const topology = (text: string) => {
    const { cpus, maxCpus, sockets, cores, threads } = parse(`-smp ${text}`).topology;
    return [cpus, maxCpus, sockets, cores, threads];
  };
  assertEquals(topology("4"), [4, 4, 1, 4, 1]);
  assertEquals(topology("4,sockets=2"), [4, 4, 2, 2, 1]);
  assertEquals(topology("4,threads=2"), [4, 4, 1, 2, 2]);
  assertEquals(topology("4,cores=2"), [4, 4, 2, 2, 1]);
  assertEquals(topology("sockets=2,cores=2"), [4, 4, 2, 2, 1]);
  assertEquals(topology("2,maxcpus=8"), [2, 8, 1, 8, 1]);
  assertEquals(topology("0x2,dies=1,clusters=1"), [2, 2, 1, 2, 1]);
});

Deno.test("accelerators are tried in order, those molt has not among them", () => {
  const kinds = (text: string) => parse(text).accelerators.map((accelerator) => accelerator.kind);
  assertEquals(kinds("-accel tcg -accel kvm"), ["unavailable", "kvm"]);
  assertEquals(kinds("-M accel=kvm:tcg"), ["kvm", "unavailable"]);
  assertEquals(kinds("-accel kvm -accel qtest"), ["kvm", "qtest"]);
  assertEquals(kinds("-enable-kvm"), ["kvm"]);
  assertEquals(parse("-accel kvm,dirty-ring-size=4096,device=/dev/kvm2").accelerators, [
    { kind: "kvm", kernelIrqchip: "on", dirtyRingSize: 4096, device: "/dev/kvm2" },
  ]);
  assertObjectMatch(parse("-M kernel-irqchip=split").accelerators[0]!, { kernelIrqchip: "split" });
});

Deno.test("CPU features keep their order and spelling", () => {
  assertEquals(parse("-cpu host,+avx,-sse4_2,pmu=off,migratable").cpu, {
    model: "host",
    features: [
      { kind: "plus", name: "avx" },
      { kind: "minus", name: "sse4-2" },
      { kind: "property", name: "pmu", value: "off" },
      { kind: "property", name: "migratable", value: "on" },
    ],
  });
  assertEquals(parse("-cpu max -global host-x86_64-cpu.avx=off").cpu.features, [
    { kind: "property", name: "avx", value: "off" },
  ]);
});

Deno.test("-nographic informs the firmware that there is no display", () => {
  assertEquals(microvm("-nographic").graphics, false);
  assertEquals(microvm("-display none").graphics, true);
});

Deno.test("-global reaches the virtio-mmio transports", () => {
  const machine = microvm("-global virtio-mmio.force-legacy=off");
  assertEquals(machine.virtioMmio, { legacy: false, ioeventfd: true });
});

Deno.test("memory backends are typed by their kind", () => {
  const backend = (text: string) => parse(`-object ${text}`).objects[0];
  assertObjectMatch(backend("memory-backend-memfd,id=m,size=1M,hugetlb=on,hugetlbsize=2M")!, {
    type: "memory-backend",
    kind: "memfd",
    size: MiB,
    share: true,
    seal: true,
    hugePageSize: 2 * MiB,
  });
  assertObjectMatch(backend("memory-backend-file,id=f,size=1M,mem-path=/x,share=on,offset=1M")!, {
    kind: "file",
    path: "/x",
    share: true,
    offset: MiB,
    readOnly: false,
  });
  assertObjectMatch(backend("memory-backend-shm,id=s,size=1M")!, { kind: "shm", id: "s" });
  assertObjectMatch(
    backend('{"qom-type":"memory-backend-ram","id":"r","size":4096,"share":true}')!,
    {
      kind: "ram",
      size: 4096,
      share: true,
    },
  );
});

Deno.test("the memory backend of the machine decides how much RAM there is", () => {
  const config = parse("-object memory-backend-memfd,id=m,size=64M -M memory-backend=m");
  assertEquals(config.memory.size, 64 * MiB);
  assertEquals(config.objects.length, 1);
});

Deno.test("-M mem-merge and dump-guest-core, and -mem-prealloc, hold for all backends", () => {
  const [own, ram] = parse(
    "-object memory-backend-ram,id=a,size=1M,merge=on -M mem-merge=off,dump-guest-core=off " +
      "-mem-prealloc -mem-path /dev/shm",
  ).objects;
  assertObjectMatch(own!, { id: "a", merge: true, dump: false, prealloc: true });
  assertObjectMatch(ram!, {
    id: "microvm.ram",
    kind: "file",
    path: "/dev/shm",
    merge: false,
    dump: false,
    prealloc: true,
  });
});
