/** The section `kvm-tpr-opt`: an optimisation for old guests that the board does not use. */
import { type TprOptState, tprOptState } from "../devices/tpr_opt_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Keeps what a stream said, so that it goes on unchanged. */
export class TprOptimization implements SavedDevice<TprOptState> {
  readonly idstr = "kvm-tpr-opt";
  readonly instanceId = 0;
  readonly description = tprOptState;
  #state: TprOptState = unused();

  save(): TprOptState {
    return this.#state;
  }

  load(state: TprOptState): void {
    this.#state = state;
  }
}

function unused(): TprOptState {
  const handlers = () => ({
    setTpr: 0,
    setTprEax: 0,
    getTpr: [0, 0, 0, 0, 0, 0, 0, 0],
    getTprStack: 0,
  });
  return {
    romState: {
      vaddr: 0,
      fixupStart: 0,
      fixupEnd: 0,
      vapicVaddr: 0,
      vapicSize: 0,
      vcpuShift: 0,
      realTprAddr: 0,
      up: handlers(),
      mp: handlers(),
    },
    state: 0,
    realTprAddr: 0,
    romStateVaddr: 0,
    vapicPaddr: 0,
    romStatePaddr: 0,
  };
}
