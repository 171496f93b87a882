/** A machine with one of everything starts; then it is asked to end. */
import { errnoMessage } from "../../../src/native/errors.ts";
import { EchoPeer } from "../../support/echo_peer.ts";
import { heartbeatMachine } from "../../support/heartbeat_machine.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import { VirtualMachine } from "../../support/virtual_machine.ts";
import { type Injection, Interposer } from "../interposer.ts";
import { Life } from "../life.ts";
import { limit, within } from "../machine.ts";
import { GuestLost, type Outcome, type Scenario, type Subject, type Target } from "../scenario.ts";

const DISK_SIZE = 1 << 20;
/** What a program may leave: output, as far as it got, and, as QEMU does, a datagram socket. */
const OUTPUTS = ["console.log", "frames", "serial"];

class StartSubject implements Subject {
  readonly #directory = new TemporaryDirectory();
  readonly #interposer = new Interposer(this.#directory.file("injection"));
  readonly #peer = new EchoPeer(this.#directory.file("echo"));
  readonly #before: readonly string[];
  #life: Life | undefined;
  #vm: VirtualMachine | undefined;
  #connected = false;

  constructor() {
    const image = this.#directory.file("disk.img");
    Deno.writeFileSync(image, new Uint8Array(0));
    Deno.truncateSync(image, DISK_SIZE);
    this.#before = this.#files();
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  target(): Target {
    return {
      interposer: this.#interposer,
      place: this.#vm === undefined ? this.#next() : this.#place,
    };
  }

  async exercise(): Promise<void> {
    this.#place = this.#next();
    this.#life = new Life(this.#directory.file("serial"));
    this.#vm = await VirtualMachine.start("molt", this.#options(), {
      directory: this.#directory,
      name: "molt",
      env: this.#interposer.env,
      connect: false,
    });
    const vm = this.#vm;
    const connecting = vm.connect().then(() => this.#connected = true, () => false);
    const signal = limit();
    const late = new Promise<"late">((resolve) =>
      signal.addEventListener("abort", () => resolve("late"))
    );
    const end = await Promise.race([connecting, vm.exited, late]);
    if (end === "late") throw new GuestLost(`neither started nor ended: ${vm.errorText}`);
  }

  async judge(injection: Injection | undefined): Promise<Outcome> {
    const { life, vm } = { life: this.#life, vm: this.#vm };
    if (!life || !vm) throw new Error("nothing was started");
    try {
      if (!this.#connected) return await this.#judgeRefusal(vm, injection);
      try {
        await life.goOn(2, limit());
      } catch (error) {
        // It may have ended in the meantime, for a reason.
        if (!vm.alive) return await this.#judgeRefusal(vm, injection);
        const { status } = await vm.qmp.execute("query-status");
        if (status === "internal-error") return "internal-error";
        throw error;
      }
      const { code } = await within("its end", vm.quit());
      if (code !== 0) throw new GuestLost(`status ${code} at its end: ${vm.errorText}`);
      this.#expectNothingLeft();
      return "running";
    } finally {
      await this.#discard();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#discard();
    await this.#peer[Symbol.asyncDispose]();
    this.#interposer[Symbol.dispose]();
    this.#directory[Symbol.dispose]();
  }

  #place = 0;

  #next(): number {
    return this.#interposer.processes;
  }

  async #judgeRefusal(vm: VirtualMachine, injection: Injection | undefined): Promise<Outcome> {
    const { code, signal } = await vm.kill();
    const text = vm.errorText;
    if (injection === undefined) throw new Error(`not started: ${text}`);
    if (signal !== null || code !== 1) {
      throw new GuestLost(`ended with ${signal ?? `status ${code}`}: ${text}`);
    }
    const lines = text.split("\n").filter((line) => line !== "");
    if (lines.length !== 1 || !/^molt: \S/.test(text)) {
      throw new GuestLost(`not one clear line: ${JSON.stringify(text)}`);
    }
    const reason = injection.errno > 0 ? errnoMessage(injection.errno) : "";
    if (!text.includes(reason)) {
      throw new GuestLost(`'${reason}' is not among the reasons: ${text.trim()}`);
    }
    if (/undefined|TypeError|RangeError|\bat file:/.test(text)) {
      throw new GuestLost(`not for its user: ${text.trim()}`);
    }
    // A pid file that somebody else has locked is theirs.
    this.#expectNothingLeft(text.includes("Cannot lock pid file") ? ["pid"] : []);
    return "not started";
  }

  #expectNothingLeft(others: readonly string[] = []): void {
    const left = this.#files().filter((name) => !this.#before.includes(name));
    const unwanted = left.filter((name) => ![...OUTPUTS, ...others].includes(name));
    if (unwanted.length > 0) throw new GuestLost(`left behind: ${unwanted.join(", ")}`);
  }

  async #discard(): Promise<void> {
    await this.#vm?.[Symbol.asyncDispose]();
    this.#life?.[Symbol.dispose]();
    [this.#vm, this.#life, this.#connected] = [undefined, undefined, false];
    for (const name of this.#files()) {
      if (!this.#before.includes(name)) Deno.removeSync(this.#directory.file(name));
    }
  }

  #files(): string[] {
    return [...Deno.readDirSync(this.#directory.path)].map(({ name }) => name).toSorted();
  }

  #options(): string[] {
    const file = (name: string) => this.#directory.file(name);
    const serial = {
      options: ["-chardev", `file,id=serial0,path=${file("serial")}`, "-serial", "chardev:serial0"],
    };
    const remote = `remote.type=unix,remote.path=${file("nobody")}`;
    const socket = `socket,id=c0,path=${file("console")},server=on,wait=off`;
    return [
      ...heartbeatMachine(serial, { shared: "memfd", append: "memory=16 rate=20 period=20" }),
      ...["-chardev", `${socket},logfile=${file("console.log")}`],
      ...["-chardev", `pty,id=p0,path=${file("pty")}`],
      ...["-chardev", `socket,id=t0,host=127.0.0.1,port=0,server=on,wait=off`],
      ...["-mon", "chardev=p0,mode=readline", "-mon", "chardev=t0,mode=control"],
      ...["-device", "virtio-serial-device", "-device", "virtconsole,chardev=c0"],
      ...["-drive", `if=none,id=d0,file=${file("disk.img")},format=raw`],
      ...["-device", "virtio-blk-device,drive=d0"],
      ...["-netdev", this.#peer.netdev, "-device", "virtio-net-device,netdev=n0"],
      ...["-netdev", `dgram,id=n1,local.type=unix,local.path=${file("frames")},${remote}`],
      ...["-device", "virtio-net-device,netdev=n1"],
      ...["-object", "rng-random,id=r0,filename=/dev/urandom"],
      ...["-device", "virtio-rng-device,rng=r0", "-device", "virtio-balloon-device"],
      ...["-pidfile", file("pid")],
    ];
  }
}

export const start: Scenario = {
  name: "start",
  processes: ["molt"],
  start: () => Promise.resolve(new StartSubject()),
};
