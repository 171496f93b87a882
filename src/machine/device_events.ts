/** What devices report, in the words of QMP's events. */
export type DeviceEvent =
  | {
    readonly name: "BLOCK_IO_ERROR";
    readonly data: {
      "qom-path": string;
      device: string;
      "node-name"?: string;
      operation: "read" | "write";
      action: "ignore" | "report" | "stop";
      nospace?: boolean;
      reason: string;
    };
  }
  | { readonly name: "BALLOON_CHANGE"; readonly data: { actual: number } }
  | { readonly name: "VSERPORT_CHANGE"; readonly data: { id: string; open: boolean } }
  | { readonly name: "NIC_RX_FILTER_CHANGED"; readonly data: { name?: string; path: string } };
