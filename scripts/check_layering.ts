/**
 * Checks the arrows between folders that must not exist (docs/architecture.md). Prints each import
 * that breaks a rule and exits with 1 if there is one.
 */

interface Rule {
  /** Files the rule is for: a path prefix. */
  readonly from: string;
  /** Files among them that it is not for: path prefixes. */
  readonly except?: readonly string[];
  /** What they must not import: path prefixes. */
  readonly never: readonly string[];
  readonly why: string;
}

const rules: readonly Rule[] = [
  {
    from: "src/",
    // How the process was started is kept as words of a command line.
    except: ["src/cli/", "src/process/"],
    never: ["src/cli/"],
    why: "what options ask for is in src/configuration/, whoever read it",
  },
  {
    from: "src/configuration/",
    never: [
      ...[
        "src/backends/",
        "src/channel/",
        "src/devices/",
        "src/guest/",
        "src/kvm/",
        "src/machine/",
      ],
      ...["src/memory/", "src/migration/", "src/monitor/", "src/process/"],
    ],
    why: "a configuration is plain data and knows nothing of what is made of it",
  },
  {
    from: "src/devices/",
    never: ["src/migration/", "src/channel/", "src/monitor/", "src/machine/"],
    why: "a device knows its state, not where the state goes",
  },
  {
    from: "src/vmstate/",
    never: ["src/migration/", "src/channel/", "src/devices/", "src/native/", "src/machine/"],
    why: "state descriptions know nothing of what uses them",
  },
  {
    from: "src/monitor/",
    never: ["src/channel/", "src/kvm/", "src/native/library.ts"],
    why: "monitors hold no logic of their own",
  },
  {
    from: "src/channel/",
    never: ["src/migration/", "src/machine/", "src/devices/", "src/monitor/"],
    why: "a channel moves bytes and knows nothing of their meaning",
  },
  {
    from: "src/native/",
    never: ["src/kvm/", "src/machine/", "src/devices/", "src/migration/"],
    why: "wrappers of system calls know nothing of virtual machines",
  },
];

const importPattern = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sources(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}

const broken: string[] = [];
for await (const path of sources("src")) {
  const text = await Deno.readTextFile(path);
  const imports = [...text.matchAll(importPattern)].map(([, target]) =>
    new URL(target ?? "", `file:///${path}`).pathname.slice(1)
  );
  for (const rule of rules) {
    if (!path.startsWith(rule.from)) continue;
    if (rule.except?.some((prefix) => path.startsWith(prefix))) continue;
    for (const target of imports) {
      if (rule.never.some((prefix) => target.startsWith(prefix))) {
        broken.push(`${path} imports ${target}: ${rule.why}`);
      }
    }
  }
  if (!path.startsWith("src/native/") && /Deno\.dlopen|native\/library\.ts"/.test(text)) {
    broken.push(`${path} uses the C library directly: only src/native does`);
  }
}
for (const line of broken) console.error(line);
console.log(`layering: ${broken.length} broken`);
Deno.exit(broken.length === 0 ? 0 : 1);
