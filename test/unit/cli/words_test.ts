import { assertEquals } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { relativePaths } from "../../../src/configuration/relative_paths.ts";
import { withoutOption } from "../../../src/cli/words.ts";
import { renameInWords } from "../../../src/process/words.ts";

const words = (text: string) => text.split(" ");

Deno.test("an option goes with its argument, and an argument that looks like it stays", () => {
  assertEquals(
    withoutOption(words("-S -incoming defer -name -incoming --incoming tcp:a:1 disk"), "incoming"),
    words("-S -name -incoming disk"),
  );
  assertEquals(withoutOption(words("-no-such -incoming x"), "incoming"), ["-no-such"]);
});

Deno.test("a file gets another name wherever a command line names it", () => {
  const rename = (text: string) => renameInWords(words(text), "/r/q.next", "/r/q").join(" ");
  assertEquals(rename("-qmp unix:/r/q.next,server=on"), "-qmp unix:/r/q,server=on");
  assertEquals(rename("-chardev socket,id=a,path=/r/q.next"), "-chardev socket,id=a,path=/r/q");
  assertEquals(rename("-pidfile /r/q.next"), "-pidfile /r/q");
  assertEquals(rename('-x {"path":"/r/q.next","a":1}'), '-x {"path":"/r/q","a":1}');
  for (const other of ["-qmp unix:/r/q.next2", "-qmp unix:a/r/q.next", "-name /r/q.next,,x"]) {
    assertEquals(rename(other), other);
  }
  assertEquals(renameInWords(["path=a,,b,x"], "a,b", "c,d"), ["path=c,,d,x"]);
});

Deno.test("what a command line names relative to the folder is known", () => {
  const relative = (text: string) => relativePaths(parseCommandLine(words(`-M microvm ${text}`)));
  assertEquals(relative("-kernel /k -qmp unix:/q,server=on -pidfile /p -serial stdio"), []);
  assertEquals(relative("-qmp tcp:a:1,server=on -chardev socket,id=s,path=x,abstract=on"), []);
  const all: readonly (readonly [string, ...string[]])[] = [
    ["-kernel k -initrd i", "k", "i"],
    ["-pidfile p", "p"],
    ["-qmp unix:q,server=on,wait=off", "q"],
    ["-chardev file,id=f,path=f,logfile=l", "l", "f"],
    ["-object memory-backend-file,id=m,size=1M,mem-path=m", "m"],
    ["-drive file=d,format=raw,if=none,id=d", "d"],
    ["-D log", "log"],
  ];
  for (const [text, ...paths] of all) assertEquals(relative(text), paths, text);
});
