/** Runs what is given for one key strictly one after another; different keys do not wait for each other. */
export type KeyedMutex = <Result>(key: string, run: () => Promise<Result>) => Promise<Result>;

export function createKeyedMutex(): KeyedMutex {
  const tails = new Map<string, Promise<unknown>>();
  return async (key, run) => {
    const previous = tails.get(key) ?? Promise.resolve();
    const current = previous.then(run, run);
    // The tail only orders: whoever called handles the error.
    const tail = current.catch(() => undefined);
    tails.set(key, tail);
    try {
      return await current;
    } finally {
      if (tails.get(key) === tail) tails.delete(key);
    }
  };
}
