/** Descriptors that clients send along: by name, and in sets. */
import * as z from "zod";
import type { Descriptor } from "../../native/descriptor.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { CommandError } from "../errors.ts";
import { empty, integer, struct } from "../../qapi/types.ts";

function received(invocation: Invocation): Descriptor {
  const descriptor = invocation.takeDescriptor();
  if (descriptor === undefined) {
    throw new CommandError("No file descriptor supplied via SCM_RIGHTS");
  }
  return descriptor;
}

export const descriptorCommands = [
  defineCommand({
    name: "getfd",
    arguments: struct({ fdname: z.string() }),
    run: ({ descriptors }, { fdname }, invocation) =>
      descriptors.setNamed(fdname, received(invocation)),
  }),
  defineCommand({
    name: "closefd",
    arguments: struct({ fdname: z.string() }),
    run: ({ descriptors }, { fdname }) => descriptors.closeNamed(fdname),
  }),
  defineCommand({
    name: "add-fd",
    arguments: struct({ "fdset-id": integer().optional(), opaque: z.string().optional() }),
    returns: struct({ "fdset-id": integer(), fd: integer() }),
    run: ({ descriptors }, { "fdset-id": set, opaque }, invocation) => {
      const descriptor = received(invocation);
      if (set !== undefined && set < 0) {
        descriptor[Symbol.dispose]();
        throw new CommandError("Parameter 'fdset-id' expects a non-negative value");
      }
      const { id, fd } = descriptors.addToSet(set, descriptor, opaque);
      return { "fdset-id": id, fd };
    },
  }),
  defineCommand({
    name: "remove-fd",
    arguments: struct({ "fdset-id": integer(), fd: integer().optional() }),
    run: ({ descriptors }, { "fdset-id": set, fd }) => descriptors.removeFromSet(set, fd),
  }),
  defineCommand({
    name: "query-fdsets",
    arguments: empty,
    returns: z.array(struct({
      "fdset-id": integer(),
      fds: z.array(struct({ fd: integer(), opaque: z.string().optional() })),
    })),
    run: ({ descriptors }) =>
      descriptors.listSets().map(({ id, members }) => ({
        "fdset-id": id,
        fds: members.map(({ fd, opaque }) => ({ fd, opaque })),
      })),
  }),
];
