/** A board as a qtest client sees it. */
import type { Accelerator } from "../guest/accelerator.ts";
import { AddressSpace } from "../machine/address_space.ts";
import type { Board } from "../machine/board.ts";
import type { QtestTarget } from "./target.ts";

/** Accesses go to guest memory and the buses as if from the board, while the guest runs or not. */
export function boardTarget(board: Board, accelerator: Accelerator): QtestTarget {
  return {
    memory: new AddressSpace(board.ram.memory, board.memory),
    ports: board.ports,
    ...(accelerator.kind === "qtest" ? { clock: board.machine.clock } : {}),
  };
}
