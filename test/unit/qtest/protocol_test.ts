import { assertEquals, assertThrows } from "@std/assert";
import {
  encodeBytes,
  MAX_TRANSFER,
  parseRequest,
  QtestError,
} from "../../../src/qtest/protocol.ts";

function refusal(line: string): string {
  return assertThrows(() => parseRequest(line), QtestError).message;
}

Deno.test("numbers are decimal, hexadecimal or octal, and wrap at 64 bits", () => {
  const read = (address: string) => parseRequest(`readb ${address}`);
  assertEquals(read("16"), { kind: "read number", address: 16, size: 1 });
  assertEquals(read("0x10"), { kind: "read number", address: 16, size: 1 });
  assertEquals(read("020"), { kind: "read number", address: 16, size: 1 });
  assertEquals(read("-1"), { kind: "read number", address: 2 ** 64, size: 1 });
  assertEquals(refusal("readb 0x"), "FAIL readb: '0x' is not a number");
  assertEquals(refusal("readb 09"), "FAIL readb: '09' is not a number");
  assertEquals(
    refusal("readb 99999999999999999999"),
    "FAIL readb: '99999999999999999999' is out of range",
  );
});

Deno.test("each access has its width", () => {
  assertEquals(parseRequest("inw 0x510"), { kind: "in", port: 0x510, size: 2 });
  assertEquals(parseRequest("outb 0x3f8 0x141"), {
    kind: "out",
    port: 0x3f8,
    size: 1,
    value: 0x41,
  });
  assertEquals(parseRequest("writel 0x1000 0x11223344"), {
    kind: "write",
    address: 0x1000,
    bytes: new Uint8Array([0x44, 0x33, 0x22, 0x11]),
  });
  assertEquals(parseRequest("readq 0x1000"), { kind: "read number", address: 0x1000, size: 8 });
  assertEquals(refusal("inb 0x10000"), "FAIL inb: '0x10000' is not an I/O port");
});

Deno.test("what a write lacks is zeros, what it has too much is left out", () => {
  const bytes = (line: string) => {
    const request = parseRequest(line);
    return request.kind === "write" ? [...request.bytes] : undefined;
  };
  assertEquals(bytes("write 0 4 0x1122"), [0x11, 0x22, 0, 0]);
  assertEquals(bytes("write 0 1 0x1122"), [0x11]);
  assertEquals(bytes("write 0 2 0xab1"), [0xab, 0]);
  assertEquals(bytes("b64write 0 4 AQIDBA=="), [1, 2, 3, 4]);
  assertEquals(bytes("b64write 0 2 AQIDBA=="), [1, 2]);
  assertEquals(refusal("write 0 1 0x"), "ERR invalid argument size");
  assertEquals(
    refusal("write 0 1 0xgg"),
    "FAIL write: the data are not hexadecimal digits after 0x",
  );
  assertEquals(refusal("b64write 0 1 ===="), "FAIL b64write: the data are not base64");
});

Deno.test("a client hears of missing arguments, sizes too large and unknown commands", () => {
  assertEquals(refusal("read 0"), "FAIL read: argument 2 is missing");
  assertEquals(
    refusal(`read 0 ${MAX_TRANSFER + 1}`),
    `FAIL read: '${MAX_TRANSFER + 1}' is more than ${MAX_TRANSFER} bytes`,
  );
  assertEquals(refusal("read 0 0"), "ERR invalid argument size");
  assertEquals(refusal("frobnicate"), "FAIL Unknown command 'frobnicate'");
  assertEquals(refusal(""), "FAIL Unknown command ''");
  assertEquals(refusal(" endianness"), "FAIL Unknown command ''");
});

Deno.test("arbitrary lines give a request or a QtestError, nothing else", () => {
  const words = ["read", "write", "memset", "b64write", "inl", "outw", "clock_step", "set_irq_in"];
  const values = [
    "0",
    "-1",
    "0xffffffffffffffff",
    "0x",
    "zz",
    "",
    "1e9",
    "AQ==",
    "0x0011",
    "\u00ff",
  ];
  let state = 1;
  const random = (below: number) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  const pick = (from: readonly string[]) => from[random(from.length)] ?? "";
  for (let i = 0; i < 5000; i++) {
    const line = [pick(words), ...Array.from({ length: random(5) }, () => pick(values))].join(" ");
    try {
      parseRequest(line);
    } catch (error) {
      if (!(error instanceof QtestError)) throw new Error(`'${line}'`, { cause: error });
    }
  }
});

Deno.test("reads come back in hexadecimal or base64", () => {
  const bytes = new Uint8Array([0, 0x7f, 0xff]);
  assertEquals(encodeBytes(bytes, "hexadecimal"), "0x007fff");
  assertEquals(encodeBytes(bytes, "base64"), "AH//");
});
