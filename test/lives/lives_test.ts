/**
 * Random lives of a guest: live updates in every mode, by scripts and by plain QMP, with failures of
 * every kind in between. After each step exactly one process has the guest, at its own paths, unharmed.
 *
 *   MOLT_SEED=N    the life of that seed alone
 *   MOLT_LIVES=N   so many lives, of this seed and those after it
 *   MOLT_STEPS=RE  lives of these steps alone
 */
import { assertGreaterOrEqual } from "@std/assert";
import { newSeed, Random } from "../support/random.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { thorough } from "../support/thorough.ts";
import { verifyLife } from "./checks.ts";
import {
  type Installation,
  kvmInstallation,
  kvmUserObstacle,
  ownInstallation,
  type User,
} from "./installation.ts";
import { Life } from "./life.ts";
import { Deck } from "./step.ts";
import { allSteps } from "./steps/all.ts";
import { Tally } from "./table.ts";
import { describeTraits, drawTraits, type Traits } from "./traits.ts";

const LIVES = Number(Deno.env.get("MOLT_LIVES") ?? (thorough ? 100 : 3));
const STEPS = 20;
/** What the thorough run has to show of each step. */
const ENOUGH = 30;
/** To look closer at some steps: a regular expression for their names. A life repeats them then. */
const only = Deno.env.get("MOLT_STEPS");
const steps = allSteps.filter(({ name, slow }) =>
  only === undefined ? thorough || !slow : new RegExp(only).test(name)
).map((step) => only === undefined ? step : { ...step, copies: STEPS });

/** One life. Whatever does not hold is reported with all that happened in it. */
async function live(
  seed: number,
  random: Random,
  traits: Traits,
  users: ReadonlyMap<User, Installation>,
  tally: Tally,
): Promise<void> {
  const installation = users.get(traits.user);
  if (installation === undefined) throw new Error(`nothing is installed for ${traits.user}`);
  await using life = await Life.start(traits, installation);
  const deck = new Deck(steps, random);
  let name = "start";
  try {
    await verifyLife(life);
    for (let count = 1; count <= STEPS; count++) {
      const step = deck.draw(life);
      if (step === undefined) throw new Error("no step is possible");
      name = step.name;
      life.journal.begin(name);
      await step.run(life, random);
      await verifyLife(life);
      tally.count(step);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `MOLT_SEED=${seed}, ${describeTraits(traits)}\nin '${name}': ${reason}\n${life.describe()}`,
      { cause },
    );
  }
}

const first = newSeed();
const count = Deno.env.has("MOLT_SEED") && !Deno.env.has("MOLT_LIVES") ? 1 : LIVES;

Deno.test(`${count} random lives of ${STEPS} steps, seeds from ${first}`, async (test) => {
  using folder = new TemporaryDirectory();
  const users = new Map<User, Installation>([["self", ownInstallation()]]);
  const obstacle = kvmUserObstacle();
  if (obstacle === undefined) users.set("kvm", await kvmInstallation(folder.path));
  else console.log(`no lives as a user of group kvm: ${obstacle}`);

  const tally = new Tally();
  for (let index = 0; index < count; index++) {
    const seed = (first + index) >>> 0;
    const random = new Random(seed);
    const traits = drawTraits(random, [...users.keys()]);
    await test.step(
      `${seed}: ${describeTraits(traits)}`,
      () => live(seed, random, traits, users, tally),
    );
  }
  console.log(tally.format(steps));
  if (count < 100) return;
  for (const step of steps) {
    assertGreaterOrEqual(tally.of(step), ENOUGH, `how often '${step.name}' was met`);
  }
});
