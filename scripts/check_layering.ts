/**
 * Checks the arrows between folders that must not exist (docs/architecture.md). Prints each import
 * that breaks a rule, and files and folders that import each other; exits with 1 if there is one.
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
    except: ["src/cli/"],
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
    from: "src/qapi/",
    never: ["src/migration/", "src/machine/", "src/monitor/", "src/native/", "src/qmp_client/"],
    why: "the names and types of QMP are the same for whoever speaks it",
  },
  {
    from: "src/qmp_client/",
    never: ["src/migration/", "src/machine/", "src/monitor/", "src/native/"],
    why: "a client of QMP knows nothing of the machine",
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
/** Which files each file imports. */
const files = new Map<string, Set<string>>();
for await (const path of sources("src")) {
  const text = await Deno.readTextFile(path);
  const imports = [...text.matchAll(importPattern)].map(([, target]) =>
    new URL(target ?? "", `file:///${path}`).pathname.slice(1)
  );
  files.set(path, new Set(imports));
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
/** Files that import each other, with the reason why they may. */
const allowedCircles: readonly (readonly [files: readonly string[], why: string])[] = [
  [
    ["src/vmstate/structure.ts", "src/vmstate/subsection.ts"],
    "a structure has subsections, and a subsection is a structure: types only",
  ],
];

/** The groups of nodes from which each reaches each other (Tarjan's algorithm). */
function circles(graph: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const order = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): number => {
    const index = order.size;
    order.set(node, index);
    let low = index;
    stack.push(node);
    for (const target of graph.get(node) ?? []) {
      if (!order.has(target)) low = Math.min(low, visit(target));
      else if (stack.includes(target)) low = Math.min(low, order.get(target) ?? low);
    }
    if (low === index) {
      const group = stack.splice(stack.indexOf(node));
      if (group.length > 1) found.push(group.toSorted());
    }
    return low;
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return found;
}

/** src/monitor/hmp/x.ts is of the folder src/monitor, src/x.ts of none. */
const folderOf = (path: string) => path.split("/").length > 2 ? path.split("/", 2).join("/") : path;

const folders = new Map<string, Set<string>>();
for (const [path, targets] of files) {
  const own = folders.get(folderOf(path)) ?? new Set();
  folders.set(folderOf(path), own);
  for (const target of targets) if (folderOf(target) !== folderOf(path)) own.add(folderOf(target));
}
for (const group of [...circles(files), ...circles(folders)]) {
  if (allowedCircles.some(([allowed]) => allowed.join() === group.join())) continue;
  broken.push(`these import each other: ${group.join(", ")}`);
}
for (const line of broken) console.error(line);
console.log(`layering: ${broken.length} broken`);
Deno.exit(broken.length === 0 ? 0 : 1);
