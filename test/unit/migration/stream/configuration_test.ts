import { assertEquals, assertThrows } from "@std/assert";
import {
  checkConfiguration,
  describeConfiguration,
  readConfiguration,
  type StreamConfiguration,
  writeConfiguration,
} from "../../../../src/migration/stream/configuration.ts";
import { StreamError } from "../../../../src/migration/stream/errors.ts";
import { StateReader, StateWriter } from "../../../../src/vmstate/vmstate.ts";

const uuid = Uint8Array.from({ length: 16 }, (_, index) => index);
const plain: StreamConfiguration = { machineType: "microvm", capabilities: [] };
const full: StreamConfiguration = {
  machineType: "microvm",
  capabilities: ["x-ignore-shared", "mapped-ram"],
  uuid,
};

Deno.test("a configuration is read as it was written", () => {
  for (const configuration of [plain, full]) {
    const writer = new StateWriter();
    writeConfiguration(writer, configuration);
    assertEquals(
      readConfiguration(new StateReader(writer.bytes, { final: true })),
      configuration,
    );
  }
});

Deno.test("a configuration is described as QEMU does", () => {
  assertEquals(
    describeConfiguration(plain),
    '"vmsd_name": "configuration", "version": 1, "fields": [' +
      '{"name": "len", "type": "uint32", "size": 4}, {"name": "name", "type": "buffer", "size": 7}]',
  );
});

Deno.test("both sides have to agree, and the error says in what they do not", () => {
  checkConfiguration(full, full);
  // As in QEMU, only as many letters are compared as were received.
  checkConfiguration({ ...plain, machineType: "micr" }, plain);
  // A side without a UUID accepts any.
  checkConfiguration({ ...plain, uuid }, plain);
  const refused = (received: StreamConfiguration, local: StreamConfiguration) =>
    assertThrows(() => checkConfiguration(received, local), StreamError).reason;
  assertEquals(
    refused({ ...plain, machineType: "pc" }, plain),
    "Machine type received is 'pc' and local is 'microvm'",
  );
  assertEquals(
    refused({ ...plain, capabilities: ["x-ignore-shared"] }, plain),
    "Capability x-ignore-shared is off, but received capability is on",
  );
  assertEquals(
    refused(plain, { ...plain, capabilities: ["mapped-ram"] }),
    "Capability mapped-ram is on, but received capability is off",
  );
  assertEquals(
    refused({ ...plain, uuid: new Uint8Array(16) }, full.uuid ? { ...plain, uuid } : plain),
    "UUID received is 00000000-0000-0000-0000-000000000000 and local is 00010203-0405-0607-0809-0a0b0c0d0e0f",
  );
});

Deno.test("capabilities that nobody knows are refused", () => {
  const writer = new StateWriter();
  writeConfiguration(writer, { ...plain, capabilities: ["mapped-ram"] });
  const bytes = writer.bytes;
  bytes[bytes.length - 1] = 0x6e;
  assertThrows(
    () => readConfiguration(new StateReader(bytes, { final: true })),
    StreamError,
    "Received unknown capability mapped-ran",
  );
});
