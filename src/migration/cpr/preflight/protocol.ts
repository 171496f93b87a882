/**
 * The preflight of a live update: a program that is to be the successor is started beside, and builds the
 * machine with a copy of this guest's state, up to the moment before it would run it. Nothing of the guest is
 * touched; the guest is paused for a moment while its devices' state is read.
 *
 *   monitor                                      checked program
 *   knows it for a molt by its file
 *   (../interim/successor_program.ts), starts it
 *   with SOCKETS_VARIABLE, hands over
 *   descriptors (../transfer.ts)             ->  looks at the paths that its options name
 *                                                builds the machine, its memory a private copy
 *                                            <-  closes that connection
 *   reads the devices' state, stream         ->  loads it, runs nothing
 *                                            <-  the answer, as JSON, to the end of the connection
 *   ends it                                      ends
 *
 * A program that ends without an answer has refused; what it printed says why.
 */
import { z } from "zod";

/** Environment: the numbers of the checked program's ends (descriptors, stream, answer). */
export const SOCKETS_VARIABLE = "MOLT_PREFLIGHT_SOCKETS";
/** Most bytes of an answer. */
export const ANSWER_LIMIT = 64 << 10;

/** What the checked program answers. */
export const answer = z.object({
  /** The program, as query-version names it. */
  program: z.string(),
  /** Why it would not take the guest; absent: it would. */
  refusal: z.string().optional(),
  /** Why that cannot be said without touching what is the guest's. */
  unknown: z.string().optional(),
});
export type Answer = z.infer<typeof answer>;
