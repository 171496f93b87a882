/** The machine of the demo, and what the demo says to try next with one like it. */

/** What differs between the demo's machine and the reader's. */
export interface DemoMachine {
  /** The folder with build/guests, with a slash at its end; empty for the current one. */
  readonly root: string;
  /** `-chardev` with the id serial0. */
  readonly serial: string;
  /** Path of the QMP socket. */
  readonly qmp: string;
}

/** molt's options for it. */
export function demoOptions({ root, serial, qmp }: DemoMachine): string[] {
  return [
    ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on", "-accel", "kvm"],
    ...["-object", "memory-backend-memfd,id=ram0,size=512M,share=on", "-m", "512M", "-smp", "2"],
    ...["-kernel", `${root}build/guests/heartbeat.elf`, "-append", "memory=64 period=100"],
    ...["-nodefaults", "-display", "none"],
    ...["-chardev", serial, "-serial", "chardev:serial0"],
    ...["-qmp", `unix:${qmp},server=on,wait=off`],
  ];
}

/**
 * Commands for the project's folder, as they are typed: the first starts a machine and runs on, the others
 * are for another terminal.
 */
export function nextSteps(): string[] {
  const qmp = "/tmp/qmp.sock";
  const options = demoOptions({ root: "", serial: "stdio,id=serial0", qmp })
    .map((word) => word.includes(" ") ? `'${word}'` : word);
  return [
    `deno task run ${options.join(" ")}`,
    `deno task update:exec --qmp ${qmp}`,
    `deno task snapshot save --qmp ${qmp} --file /tmp/snapshot`,
    "deno task run inspect --summary /tmp/snapshot",
  ];
}
