/** When the program's first line ran: main.ts imports this before everything else. */

/** Wall-clock microseconds. */
export const programStart = performance.timeOrigin * 1000 + performance.now() * 1000;
