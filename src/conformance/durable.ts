/** What every durable engine must keep, sentence by sentence of ports/durable.ts. */
import { describe } from 'node:test';
import type { CatalogChange } from '../ports/catalog.ts';
import type { Durable } from '../ports/durable.ts';
import { claimTests } from './durable/claims.ts';
import { compensationTests } from './durable/compensation.ts';
import { partTests } from './durable/parts.ts';
import { replayTests } from './durable/replay.ts';
import { requestTests } from './durable/requests.ts';
import { stoppingTests } from './durable/stopping.ts';
import type { DurableTest } from './durable/story.ts';
import { waitingTests } from './durable/waiting.ts';
import type { ManualClock } from './manual-clock.ts';

/** One storage with a clock, and engines that are opened on it one after the other. */
export type DurableHarness = AsyncDisposable & {
  readonly clock: ManualClock;
  /** A new engine on the storage; the one before was closed or has crashed. */
  open(): Promise<Durable>;
  /** The current engine is gone at once, as in a kill -9: it writes nothing any more, and nobody hears of it. */
  crash(): Promise<void>;
  /**
   * All changes that were committed, oldest first. A `host-removed` of host `refused` must be refused with
   * `version-conflict`, together with everything in its list.
   */
  applied(): Promise<readonly CatalogChange[]>;
};

export function durableSuite(name: string, createHarness: () => Promise<DurableHarness>): void {
  const groups: readonly (readonly [string, (test: DurableTest) => void])[] = [
    ['requests', requestTests],
    ['replay', replayTests],
    ['compensation', compensationTests],
    ['parts', partTests],
    ['stopping', stoppingTests],
    ['waiting', waitingTests],
    ['claims', claimTests],
  ];
  describe(`durable engine: ${name}`, () => {
    for (const [group, define] of groups) describe(group, () => define({ createHarness }));
  });
}
