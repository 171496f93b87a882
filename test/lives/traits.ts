/** What differs from life to life: how its machine is started, and by whom. */
import type { Random } from "../support/random.ts";
import type { User } from "./installation.ts";

/** The traits of a life. */
export interface Traits {
  readonly user: User;
  /** How the command line names files. */
  readonly paths: "absolute" | "relative";
  readonly daemonized: boolean;
  /** Where the guest's RAM is. */
  readonly memory: "memfd" | "file";
  readonly cpus: 1 | 2;
  /** Clients of the console stay connected over live updates. */
  readonly keepsConsole: boolean;
}

/** Draws a life's traits. */
export function drawTraits(random: Random, users: readonly User[]): Traits {
  return {
    user: random.pick(users),
    paths: random.pick(["absolute", "relative"]),
    daemonized: random.chance(2),
    memory: random.pick(["memfd", "memfd", "file"]),
    cpus: random.pick([1, 2]),
    keepsConsole: random.chance(2),
  };
}

/** The traits in words. */
export function describeTraits(traits: Traits): string {
  return [
    traits.user === "self" ? "as who runs the tests" : "as a user of group kvm",
    `${traits.paths} paths`,
    traits.daemonized ? "daemonized" : "in the foreground",
    `RAM in a ${traits.memory}`,
    `${traits.cpus} vCPUs`,
    `console ${traits.keepsConsole ? "with" : "without"} cpr=on`,
  ].join(", ");
}
