/**
 * Command lines of machines, edited for a successor: where its guest comes from, and what two
 * processes cannot both have. Everything else stays as it is, so that the machines are alike.
 */

/** Options that take a server socket's address as their value. */
const socketOptions: ReadonlySet<string> = new Set([
  "-qmp",
  "-qmp-pretty",
  "-monitor",
  "-serial",
  "-parallel",
  "-debugcon",
  "-gdb",
]);

/** Ends the names of a successor's files until the process before it is gone. */
const NEXT = ".next";
const SAFE = ".safe";

/** `-option` for an option, however many dashes it was written with. */
function optionName(argument: string): string {
  return argument.replace(/^--/, "-");
}

/** Removes options: those in `withValue` go with the argument after them. */
function without(
  command: readonly string[],
  withValue: readonly string[],
  alone: readonly string[] = [],
): string[] {
  const kept: string[] = [];
  for (let i = 0; i < command.length; i++) {
    const argument = command[i] ?? "";
    if (withValue.includes(optionName(argument))) i++;
    else if (!alone.includes(optionName(argument))) kept.push(argument);
  }
  return kept;
}

/** Applies `edit` to the value of each option. Arguments that are no option's value stay. */
function editValues(
  command: readonly string[],
  edit: (option: string, value: string) => string,
): string[] {
  return command.map((argument, i) => {
    const previous = command[i - 1];
    return previous?.startsWith("-") ? edit(optionName(previous), argument) : argument;
  });
}

/**
 * The command of a process that receives the guest from `incoming` (values of -incoming). It is not
 * asked to stay stopped, since the guest goes on as it was, nor to go into the background.
 */
export function receiving(command: readonly string[], ...incoming: readonly string[]): string[] {
  return [
    ...without(command, ["-incoming"], ["-S", "-daemonize"]),
    ...incoming.flatMap((value) => ["-incoming", value]),
  ];
}

/** Output files are gone on with instead of being emptied. */
export function appending(command: readonly string[]): string[] {
  const chardevs: string[] = [];
  const edited = editValues(command, (option, value) => {
    if (option === "-chardev") {
      const output = value.startsWith("file,") && !/,append=/.test(value) ? ",append=on" : "";
      const log = /,logfile=/.test(value) && !/,logappend=/.test(value) ? ",logappend=on" : "";
      return value + output + log;
    }
    if (socketOptions.has(option) && value.startsWith("file:")) {
      const id = `output${chardevs.length / 2}`;
      const path = value.slice("file:".length).replaceAll(",", ",,");
      chardevs.push("-chardev", `file,id=${id},path=${path},append=on`);
      return `chardev:${id}`;
    }
    return value;
  });
  return [...edited, ...chardevs];
}

/** The name of a successor's socket or file until it takes the place of the one called `path`. */
export function nextName(path: string): string {
  return path + NEXT;
}

/** Its name while the process before it ends: a QEMU removes what is there by the names it was given. */
export function safeName(path: string): string {
  return path + SAFE;
}

/** The name that clients know. */
function lastingName(path: string): string {
  const ending = [NEXT, SAFE].find((ending) => path.endsWith(ending)) ?? "";
  return path.slice(0, path.length - ending.length);
}

/** Whether a character device's sockets go over to the process that gets the guest by cpr-transfer. */
function survives(chardev: string): boolean {
  return /,cpr(=on)?(,|$)/.test(chardev);
}

/** Gives each unix server socket, and the file with the process's number, another name. */
function renaming(
  command: readonly string[],
  rename: (path: string) => string,
  keeps: (chardev: string) => boolean = () => false,
): string[] {
  const isServer = (value: string) => /,server(=on)?(,|$)/.test(value);
  return editValues(command, (option, value) => {
    if (option === "-pidfile") return rename(value);
    if (socketOptions.has(option) && value.startsWith("unix:") && isServer(value)) {
      return value.replace(/^unix:([^,]*)/, (_, path: string) => `unix:${rename(path)}`);
    }
    if (option === "-chardev" && value.startsWith("socket,") && isServer(value) && !keeps(value)) {
      return value.replace(/,path=([^,]*)/, (_, path: string) => `,path=${rename(path)}`);
    }
    return value;
  });
}

/** A command line that can run beside the one it was made from. */
export interface Beside {
  readonly command: readonly string[];
  /** The names that its sockets, and the file with its number, are to have in the end. */
  readonly names: readonly string[];
}

/**
 * Lets sockets and the file with the process's number be called PATH.next. By cpr-transfer a socket of a
 * device with cpr=on goes over as it is, with its name.
 */
export function beside(command: readonly string[], mode: "normal" | "cpr-transfer"): Beside {
  const names: string[] = [];
  const edited = renaming(command, (path) => {
    // A QEMU that was a successor itself still has that name in its arguments.
    names.push(lastingName(path));
    return nextName(lastingName(path));
  }, mode === "cpr-transfer" ? survives : undefined);
  return { command: edited, names };
}

/** The command line of a machine that has its names to itself. */
export function alone(command: readonly string[]): string[] {
  return renaming(command, lastingName);
}

/** The properties of an option's value; the first may come without its name, and is called ``. */
function propertiesOf(value: string): Map<string, string> {
  return new Map(
    value.split(",").map((part) => {
      const equals = part.indexOf("=");
      return equals < 0 ? ["", part] : [part.slice(0, equals), part.slice(equals + 1)];
    }),
  );
}

/** The values of an option. */
function valuesOf(command: readonly string[], ...options: readonly string[]): string[] {
  return command.filter((_, i) => options.includes(optionName(command[i - 1] ?? "")));
}

/** Where the first QMP monitor of a command listens; undefined if no client can reach one. */
export function qmpAddressOf(command: readonly string[]): string | undefined {
  const isAddress = (value: string) => /^(unix|tcp):/.test(value);
  const direct = valuesOf(command, "-qmp", "-qmp-pretty").find(isAddress);
  if (direct !== undefined) return direct;
  const monitor = valuesOf(command, "-mon").map(propertiesOf)
    .find((properties) => properties.get("mode") === "control");
  const id = monitor?.get("chardev") ?? monitor?.get("");
  const socket = valuesOf(command, "-chardev").map(propertiesOf)
    .find((properties) => properties.get("") === "socket" && properties.get("id") === id);
  const path = socket?.get("path");
  if (path !== undefined) return `unix:${path}`;
  const port = socket?.get("port");
  return port === undefined ? undefined : `tcp:${socket?.get("host") || "localhost"}:${port}`;
}
