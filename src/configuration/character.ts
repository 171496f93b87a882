/** What ports and monitors are connected to. */

/** A monitor on a character device. */
export interface MonitorConfig {
  /** The character device's id. */
  readonly chardev: string;
  /** `readline` is HMP for people, `control` is QMP. */
  readonly mode: "readline" | "control";
  /** QMP's replies are indented. */
  readonly pretty: boolean;
}

/** What a serial port or another fixed place is connected to. */
export type CharacterConnection =
  /** Nothing: the port does not exist. */
  | { readonly kind: "none" }
  /** The device of `chardevs` with this id. */
  | { readonly kind: "chardev"; readonly id: string };
