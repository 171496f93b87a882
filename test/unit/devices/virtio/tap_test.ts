/**
 * Runs tap_cases.ts in a network namespace: as root, or as whoever may be root in a user namespace.
 * Where neither is allowed, or there are no tap interfaces, the test is ignored and its name says why.
 */
import { assert } from "@std/assert";

const cases = new URL("tap_cases.ts", import.meta.url).pathname;

/** Runs a program in a namespace. */
function inNamespace(args: readonly string[]): Deno.CommandOutput {
  const how = Deno.uid() === 0 ? ["--net"] : ["--net", "--map-root-user"];
  return new Deno.Command("unshare", { args: [...how, ...args] }).outputSync();
}

/** Why tap interfaces cannot be tested here; `undefined` if they can. */
function obstacle(): string | undefined {
  try {
    const script = "ip link set lo up && ip tuntap add dev probe0 mode tap vnet_hdr";
    const { success, stderr } = inNamespace(["sh", "-c", script]);
    return success ? undefined : new TextDecoder().decode(stderr).trim().replaceAll("\n", "; ");
  } catch (error) {
    return String(error);
  }
}

const reason = obstacle();

Deno.test({
  name: "virtio-net on tap interfaces, in a network namespace" +
    (reason === undefined ? "" : ` (this machine forbids it: ${reason})`),
  ignore: reason !== undefined,
  fn: () => {
    const { success, stdout, stderr } = inNamespace([
      Deno.execPath(),
      "test",
      "-A",
      "--quiet",
      "--no-check",
      cases,
    ]);
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert(success, `${text(stdout)}\n${text(stderr)}`);
  },
});
