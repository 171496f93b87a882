import { assertEquals } from "@std/assert";
import { OwnFile } from "../../../src/process/own_file.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

/** A file and this process's view of it. */
function make(path: string, renamed?: (path: string) => void): OwnFile {
  Deno.writeTextFileSync(path, "");
  const file = OwnFile.at(path, renamed);
  if (file === undefined) throw new Error(`${path} is not there`);
  return file;
}

const names = ({ path }: TemporaryDirectory) =>
  [...Deno.readDirSync(path)].map(({ name }) => name).toSorted();

Deno.test("a file of this process is found, renamed and removed by whatever name it has", () => {
  using directory = new TemporaryDirectory();
  const before = Deno.cwd();
  Deno.chdir(directory.path);
  const reported: string[] = [];
  const file = make("q.next", (path) => reported.push(path));
  Deno.chdir(before);
  const found = OwnFile.find(directory.file("q.next"));
  assertEquals(found, file);
  found?.rename(directory.file("q"));
  assertEquals([file.path, reported, names(directory)], ["q", ["q"], ["q"]], "spelled as before");
  assertEquals(OwnFile.find(directory.file("q.next")), undefined);
  file[Symbol.dispose]();
  assertEquals(names(directory), []);
  assertEquals(OwnFile.find(directory.file("q")), undefined);
});

Deno.test("a file that somebody has replaced, or that was left to another process, stays", () => {
  using directory = new TemporaryDirectory();
  const replaced = make(directory.file("a"));
  Deno.writeTextFileSync(directory.file("new"), "another");
  Deno.renameSync(directory.file("new"), directory.file("a"));
  const left = make(directory.file("b"));
  left.leave();
  for (const file of [replaced, left]) file[Symbol.dispose]();
  assertEquals(names(directory), ["a", "b"]);
});
