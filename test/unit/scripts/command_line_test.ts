import { assertEquals } from "@std/assert";
import {
  alone,
  appending,
  beside,
  qmpAddressOf,
  receiving,
} from "../../../scripts/lib/command_line.ts";

/** A command line as it is typed, without quotes. */
const words = (text: string) => text.split(" ");

Deno.test("a successor receives the guest from one place and goes on as the guest was", () => {
  assertEquals(
    receiving(words("molt -S -m 1G --incoming file:old -daemonize -incoming defer"), "a", "b"),
    words("molt -m 1G -incoming a -incoming b"),
  );
});

Deno.test("a successor adds to output files instead of emptying them", () => {
  assertEquals(
    appending(words("molt -chardev file,id=a,path=x -chardev file,id=b,path=y,append=off")),
    words("molt -chardev file,id=a,path=x,append=on -chardev file,id=b,path=y,append=off"),
  );
  assertEquals(
    appending(["qemu", "-serial", "file:a,b", "-serial", "stdio"]),
    [
      ...["qemu", "-serial", "chardev:output0", "-serial", "stdio"],
      ...["-chardev", "file,id=output0,path=a,,b,append=on"],
    ],
  );
  assertEquals(
    appending(words("molt -chardev pty,id=a,logfile=x -chardev null,id=b,logfile=y,logappend=off")),
    words(
      "molt -chardev pty,id=a,logfile=x,logappend=on -chardev null,id=b,logfile=y,logappend=off",
    ),
  );
  const done = appending(words("qemu -serial file:a"));
  assertEquals(appending(done), done);
});

Deno.test("a successor's sockets and its number's file have names of their own, by turns or not", () => {
  const command = words(
    "molt -qmp unix:/run/q,server=on,wait=off -monitor unix:/run/m,server -pidfile /run/pid " +
      "-chardev socket,id=s,path=/run/s,server=on -chardev socket,id=c,path=/run/c -serial unix:/run/t",
  );
  const successor = beside(command, "normal");
  assertEquals(successor.names, ["/run/q", "/run/m", "/run/pid", "/run/s"]);
  assertEquals(
    successor.command,
    words(
      "molt -qmp unix:/run/q.next,server=on,wait=off -monitor unix:/run/m.next,server " +
        "-pidfile /run/pid.next -chardev socket,id=s,path=/run/s.next,server=on " +
        "-chardev socket,id=c,path=/run/c -serial unix:/run/t",
    ),
  );
  assertEquals(beside(successor.command, "normal"), successor, "the successor's successor");
  assertEquals(alone(successor.command), command);
  const surviving = words(
    "molt -qmp unix:q,server -chardev socket,id=s,path=s,server=on,cpr=on -chardev " +
      "socket,id=t,path=t,server=on,cpr=off",
  );
  assertEquals(beside(surviving, "normal").names, ["q", "s", "t"]);
  assertEquals(beside(surviving, "cpr-transfer").names, ["q", "t"], "the others go over");
});

Deno.test("a command line says where its QMP monitor is", () => {
  const address = (text: string) => qmpAddressOf(words(text));
  assertEquals(address("molt -m 1G -qmp unix:q,server=on"), "unix:q,server=on");
  assertEquals(
    address("molt -qmp stdio -qmp tcp:localhost:4444,server"),
    "tcp:localhost:4444,server",
  );
  assertEquals(
    address("molt -chardev socket,id=m,path=/run/q,server=on -mon chardev=m,mode=control"),
    "unix:/run/q",
  );
  assertEquals(
    address("molt -chardev socket,port=44,id=m,server=on -mon m,mode=control"),
    "tcp:localhost:44",
  );
  assertEquals(address("molt -monitor unix:m,server=on -serial stdio"), undefined);
});
