/** The host's side of a network device, whatever it is. */
import type { Fd } from "../../native/descriptor.ts";
import type { NetworkPort } from "../../native/network.ts";

/** What a host's side can do beyond moving frames, of those things that tap interfaces can. */
export interface NetworkAbilities {
  /** Frames have a virtio header: checksums and segmentation may be left to the receiver. */
  readonly header: boolean;
  /** UDP fragmentation, and UDP segmentation. */
  readonly ufo: boolean;
  readonly uso: boolean;
}

/** A network backend (-netdev). */
export interface NetworkBackend extends Disposable {
  readonly id: string;
  readonly abilities: NetworkAbilities;
  /** Pairs of queues that it can serve. */
  readonly pairs: number;
  /** It was taken over from a process before this one: nobody outside has noticed anything. */
  readonly adopted: boolean;
  /** What `info network` says of it. */
  readonly description: string;
  /** What a pair's frames go to now. */
  port(pair: number): NetworkPort;
  /** Notifies whenever a port is another one from now on. */
  set portChanged(listener: (pair: number) => void);
  /** The peer of a stream has disconnected, as whoever moves the frames has noticed. */
  lost(pair: number): void;
  /** Frames are moved from now on, or are not any more. */
  set inUse(on: boolean);
  /** Bytes of the virtio header of frames. */
  setHeaderSize(size: number): void;
  /** What the guest can receive: {@linkcode TapOffload} bits. */
  setOffload(bits: number): void;
  /** Pairs that the guest uses. */
  setActivePairs(pairs: number): void;
  /** What a live update hands on. */
  descriptors(): { name: string; id: number; fd: Fd }[];
}

/** What a live update calls the descriptors of backend `id`. */
export function keptName(id: string): string {
  return `molt/net/${id}`;
}

export const noAbilities: NetworkAbilities = { header: false, ufo: false, uso: false };
