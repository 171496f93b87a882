/** The strategy for each route. */
import { ExecStrategy } from "./exec.ts";
import type { Route } from "./plan.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";
import { StreamStrategy } from "./stream.ts";
import { ReturnStrategy, TransferStrategy } from "./transfer.ts";

/** The strategy that moves the machine by `route`. */
export function createStrategy(context: StrategyContext, route: Route): Strategy {
  switch (route.kind) {
    case "stream":
      return new StreamStrategy(context, route.main);
    case "exec":
      return new ExecStrategy(context, route.main);
    case "transfer":
      return new TransferStrategy(context, route.main, route.cpr);
    case "return":
      return new ReturnStrategy(context, route.channel, route.ownership, route.handingOver);
  }
}
