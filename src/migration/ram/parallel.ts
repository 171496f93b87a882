/** Work that is done for one thing after the other, several at a time. */

/**
 * Does `work` for what `next` gives until that is `undefined`, `count` at a time. When one fails nothing more
 * is begun; then the error is thrown, once nothing is under way any more.
 */
export async function inParallel<T>(
  count: number,
  next: () => Promise<T | undefined> | T | undefined,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let failed = false;
  const worker = async () => {
    try {
      while (!failed) {
        const item = await next();
        if (item === undefined) return;
        await work(item);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: count }, worker));
  const failure = outcomes.find((outcome) => outcome.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}
