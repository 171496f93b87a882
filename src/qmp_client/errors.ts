/** What can go wrong between a QMP client and its server, by class. */

/** Any failure of this client. */
export class QmpError extends Error {
  override readonly name: string = "QmpError";
}

/** No QMP server answers at an address. */
export class QmpConnectError extends QmpError {
  override readonly name = "QmpConnectError";
}

/** The connection has ended: the reply will not come. */
export class QmpDisconnectedError extends QmpError {
  override readonly name = "QmpDisconnectedError";
}

/** The server sent something that is not QMP, or a reply that does not fit its command. */
export class QmpProtocolError extends QmpError {
  override readonly name = "QmpProtocolError";
}

/** The classes of errors that a command gives (qapi/error.json). */
export type QmpErrorClass =
  | "GenericError"
  | "CommandNotFound"
  | "DeviceNotActive"
  | "DeviceNotFound"
  | "KVMMissingCap";

/** The server refused a command. */
export class QmpCommandError extends QmpError {
  override readonly name = "QmpCommandError";

  /** `description` is the server's own text, meant for people. */
  constructor(
    readonly command: string,
    readonly errorClass: QmpErrorClass,
    readonly description: string,
  ) {
    super(`${command}: ${description}`);
  }
}
