/** Clients that come and go, also in the middle of an update. */
import { awaitMigration, QmpDisconnectedError } from "../../../src/qmp_client/mod.ts";
import { patience } from "../../support/patience.ts";
import { ConsoleUser } from "../console_user.ts";
import type { Life } from "../life.ts";
import { dial } from "../dial.ts";
import type { Step } from "../step.ts";

/** An update of the program in its process, with itself. */
async function updateMeanwhile(life: Life, meanwhile: () => Promise<void>): Promise<void> {
  const { machine } = life;
  await life.qmp(async ({ client, execute }) => {
    await execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...machine.command],
    });
    await execute("migrate", {});
    await meanwhile();
    await awaitMigration(client, { signal: patience() }).catch((error) => {
      if (!(error instanceof QmpDisconnectedError)) throw error;
    });
  });
  await life.qmp(({ client }) =>
    life.until(
      async () => (await client.execute("query-migrate")).status === "completed",
      "the successor has the guest",
    )
  );
}

/** Connects to the second monitor and writes `text`, whatever comes back. */
async function write(life: Life, text: string): Promise<Deno.Conn> {
  const path = life.machine.names.shell;
  life.journal.note(`a client of ${path} writes ${JSON.stringify(text)}`);
  const connection = await dial(path);
  await connection.write(new TextEncoder().encode(text));
  return connection;
}

/** Monitors' and the console's. */
export const clients: readonly Step[] = [
  {
    name: "a monitor's client leaves inside a command",
    kind: "step",
    run: async (life, random) => {
      const text = `{"execute": "qmp_capabilities"}{"execute": "query-version", "arguments": {}}`;
      for (let time = 0; time < 3; time++) {
        using _ = await write(life, text.slice(0, random.between(1, text.length)));
      }
    },
  },
  {
    name: "a monitor's client asks during an update",
    kind: "step",
    run: (life) =>
      updateMeanwhile(life, async () => {
        const text = `{"execute": "qmp_capabilities"}{"execute": "query-status"}`;
        using _ = await write(life, text);
      }),
  },
  {
    name: "a client at the console",
    kind: "step",
    possible: ({ state }) => state === "running",
    run: async (life, random) => {
      await using user = await ConsoleUser.connect(life);
      for (let line = 0; line < 3; line++) await user.echo(`<${random.below(1_000_000)}>`);
    },
  },
  {
    name: "a client at the console during an update",
    kind: "step",
    possible: ({ state }) => state === "running",
    run: async (life, random) => {
      await using user = await ConsoleUser.connect(life);
      await user.echo("before");
      await updateMeanwhile(life, async () => {
        if (life.traits.keepsConsole) await user.echo(`<${random.below(1_000_000)}>`);
      });
      if (life.traits.keepsConsole) await user.echo("after");
      else await life.until(() => user.ended, "the console's client is disconnected");
    },
  },
  {
    name: "a client at the console that does not read",
    kind: "step",
    run: async (life, random) => {
      const path = life.machine.names.console;
      life.journal.note(`a client of ${path} reads nothing`);
      using _ = await dial(path);
      await new Promise((resolve) => setTimeout(resolve, random.between(10, 300)));
    },
  },
];
