/** A QMP request: `{"execute": NAME, "arguments": {...}, "id": ANY}`, or `exec-oob` for `execute`. */
import { CommandError } from "../errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../json/value.ts";

/** A request that has the right form. */
export interface QmpRequest {
  readonly name: string;
  readonly arguments: JsonObject;
  /** `exec-oob`: to be run before requests that came earlier. */
  readonly oob: boolean;
}

const emptyArguments: JsonObject = {};

/** Checks the form of one JSON value from the client. `exec-oob` is known where it was negotiated. */
export function checkRequest(value: JsonValue, oobEnabled: boolean): QmpRequest {
  if (!isJsonObject(value)) throw new CommandError("QMP input must be a JSON object");
  let name: { readonly text: string; readonly member: string } | undefined;
  let given = emptyArguments;
  for (const [member, content] of Object.entries(value)) {
    if (member === "execute" || (member === "exec-oob" && oobEnabled)) {
      if (typeof content !== "string") {
        throw new CommandError(`QMP input member '${member}' must be a string`);
      }
      if (name !== undefined) {
        throw new CommandError("QMP input member 'execute' clashes with 'exec-oob'");
      }
      name = { text: content, member };
    } else if (member === "arguments") {
      if (!isJsonObject(content)) {
        throw new CommandError("QMP input member 'arguments' must be an object");
      }
      given = content;
    } else if (member !== "id") {
      throw new CommandError(`QMP input member '${member}' is unexpected`);
    }
  }
  if (name === undefined) throw new CommandError("QMP input lacks member 'execute'");
  return { name: name.text, arguments: given, oob: name.member === "exec-oob" };
}
