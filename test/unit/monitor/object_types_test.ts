import { assert, assertEquals } from "@std/assert";
import { deviceModels } from "../../../src/configuration/device_models.ts";
import { listTypes } from "../../../src/monitor/object_types.ts";

const names = (...query: Parameters<typeof listTypes>) =>
  listTypes(...query).map(({ name }) => name);

Deno.test("every driver of -device is a type that implements device", () => {
  const devices = new Set(names("device", false));
  for (const driver of Object.keys(deviceModels)) assert(devices.has(driver), driver);
});

Deno.test("types are listed by parent, by interface, and abstract ones on demand", () => {
  assertEquals(names("rng-backend", false), ["rng-builtin", "rng-egd", "rng-random"]);
  assert(names("user-creatable", false).includes("iothread"));
  assert(!names(undefined, false).includes("device"));
  assert(names(undefined, true).includes("device"));
  assertEquals(names("nonexistent", true), []);
  assertEquals(listTypes("virtconsole", false), [{
    name: "virtconsole",
    parent: "virtserialport",
  }]);
});
