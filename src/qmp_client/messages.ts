/**
 * What a QMP server sends, one JSON object per line (QEMU's docs/interop/qmp-spec):
 *
 *   {"QMP": {"version": ..., "capabilities": [...]}}                    first, once
 *   {"return": ..., "id": ...}  or  {"error": {"class", "desc"}, "id"}  one for each command
 *   {"event": NAME, "data": {...}, "timestamp": {...}}                  at any time
 */
import * as z from "zod";

const greeting = z.object({
  QMP: z.object({
    version: z.looseObject({
      qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }),
      package: z.string(),
    }),
    capabilities: z.array(z.string()),
  }),
});

/** The server's greeting. */
export type QmpGreeting = z.infer<typeof greeting>["QMP"];

const commandError = z.object({
  class: z.enum([
    "GenericError",
    "CommandNotFound",
    "DeviceNotActive",
    "DeviceNotFound",
    "KVMMissingCap",
  ]),
  desc: z.string(),
});

const event = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).default({}),
  // Both are -1 where the server could not read the time.
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
});

const id = z.unknown().optional();

const message = z.union([
  event.transform((value) => ({ kind: "event" as const, ...value })),
  z.object({ error: commandError, id }).transform((value) => ({
    kind: "error" as const,
    ...value,
  })),
  greeting.transform(({ QMP }) => ({ kind: "greeting" as const, greeting: QMP })),
  z.object({ return: z.unknown().refine((value) => value !== undefined), id })
    .transform(({ return: value, id }) => ({ kind: "return" as const, value, id })),
]);

/** One message of the server. */
export type QmpMessage = z.infer<typeof message>;

/** Classifies a parsed line; undefined if it is none of QMP's messages. */
export function readMessage(json: unknown): QmpMessage | undefined {
  return message.safeParse(json).data;
}
