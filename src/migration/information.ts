/** What query-migrate reports (qapi/migration.json: MigrationInfo). */
import type { ListeningAddress } from "../channel/incoming.ts";
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { RamStatistics } from "./ram/sender.ts";
import type { MigrationStatus } from "./status.ts";

/** Member `ram`. */
export interface RamInformation {
  readonly "transferred": number;
  readonly "remaining": number;
  readonly "total": number;
  readonly "duplicate": number;
  readonly "normal": number;
  readonly "normal-bytes": number;
  readonly "dirty-pages-rate": number;
  readonly "mbps": number;
  readonly "dirty-sync-count": number;
  readonly "postcopy-requests": number;
  readonly "page-size": number;
  readonly "multifd-bytes": number;
  readonly "pages-per-second": number;
  readonly "precopy-bytes": number;
  readonly "downtime-bytes": number;
  readonly "postcopy-bytes": number;
  readonly "dirty-sync-missed-zero-copy": number;
}

/** Times are in milliseconds, amounts in bytes. */
export interface MigrationInformation {
  readonly "status"?: MigrationStatus;
  readonly "ram"?: RamInformation;
  readonly "remaining"?: number;
  readonly "total-time"?: number;
  readonly "setup-time"?: number;
  readonly "expected-downtime"?: number;
  readonly "downtime"?: number;
  readonly "cpu-throttle-percentage"?: number;
  readonly "error-desc"?: string;
  readonly "blocked-reasons"?: string[];
  readonly "socket-address"?: ListeningAddress[];
  /** molt's own: what a destination that is not built yet waits for. */
  readonly "x-waiting-for"?: string;
}

/** Statistics as members. */
export function ramInformation(statistics: RamStatistics): RamInformation {
  return {
    "transferred": statistics.transferred,
    "remaining": statistics.remaining,
    "total": statistics.total,
    "duplicate": statistics.duplicate,
    "normal": statistics.normal,
    "normal-bytes": statistics.normal * PAGE_SIZE,
    "dirty-pages-rate": statistics.dirtyPagesRate,
    "mbps": statistics.mbps,
    "dirty-sync-count": statistics.dirtySyncCount,
    "postcopy-requests": 0,
    "page-size": PAGE_SIZE,
    "multifd-bytes": statistics.multifdBytes,
    "pages-per-second": statistics.pagesPerSecond,
    "precopy-bytes": statistics.precopyBytes,
    "downtime-bytes": statistics.downtimeBytes,
    "postcopy-bytes": 0,
    "dirty-sync-missed-zero-copy": 0,
  };
}
