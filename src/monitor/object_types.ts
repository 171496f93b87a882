/** The types of molt's objects, under QEMU's names and in its hierarchy, for qom-list-types. */

import {
  classesOf,
  deviceClasses,
  deviceModels,
  isDeviceDriver,
} from "../configuration/device_models.ts";

/** A type as qom-list-types shows it. */
export interface ObjectType {
  readonly name: string;
  /** Absent for `object`, of which all others are. */
  readonly parent?: string;
  /** There are no objects of this type itself. */
  readonly abstract?: true;
}

interface Declaration extends ObjectType {
  /** Further types that it can be taken for: interfaces. */
  readonly implements?: readonly string[];
}

const models = Object.keys(deviceModels).filter(isDeviceDriver);
const creatable = { implements: ["user-creatable"] } as const;

const types: readonly Declaration[] = [
  { name: "object", abstract: true },
  { name: "accel", parent: "object" },
  { name: "kvm-accel", parent: "accel" },
  { name: "qtest-accel", parent: "accel" },
  { name: "machine", parent: "object", abstract: true },
  { name: "none-machine", parent: "machine" },
  { name: "x86-machine", parent: "machine", abstract: true },
  { name: "microvm-machine", parent: "x86-machine" },

  { name: "device", parent: "object", abstract: true },
  { name: "cpu", parent: "device", abstract: true },
  { name: "x86_64-cpu", parent: "cpu", abstract: true },
  { name: "max-x86_64-cpu", parent: "x86_64-cpu" },
  { name: "host-x86_64-cpu", parent: "max-x86_64-cpu" },
  ...deviceClasses.flatMap((name): Declaration[] => [
    { name, parent: "device", abstract: true },
    ...models.filter((model) => classesOf(model).includes(name))
      .map((model) => ({ name: model, parent: deviceModels[model].parent })),
  ]),

  { name: "memory-backend", parent: "object", abstract: true, ...creatable },
  { name: "memory-backend-file", parent: "memory-backend" },
  { name: "memory-backend-memfd", parent: "memory-backend" },
  { name: "memory-backend-ram", parent: "memory-backend" },
  { name: "memory-backend-shm", parent: "memory-backend" },
  { name: "rng-backend", parent: "object", abstract: true, ...creatable },
  { name: "rng-builtin", parent: "rng-backend" },
  { name: "rng-egd", parent: "rng-backend" },
  { name: "rng-random", parent: "rng-backend" },
  { name: "event-loop-base", parent: "object", abstract: true, ...creatable },
  { name: "iothread", parent: "event-loop-base" },
  { name: "monitor", parent: "object", abstract: true, ...creatable },
  { name: "monitor-hmp", parent: "monitor" },
  { name: "monitor-qmp", parent: "monitor" },
];

const byName = new Map(types.map((type) => [type.name, type]));

function isA(type: Declaration, name: string): boolean {
  if (type.name === name || type.implements?.includes(name)) return true;
  const parent = type.parent === undefined ? undefined : byName.get(type.parent);
  return parent !== undefined && isA(parent, name);
}

/** The types that are `name` or can be taken for it, all if it is absent; abstract ones on demand. */
export function listTypes(name: string | undefined, withAbstract: boolean): ObjectType[] {
  return types
    .filter((type) => name === undefined || isA(type, name))
    .filter(({ abstract }) => withAbstract || !abstract)
    .map(({ implements: _, ...type }) => type);
}
