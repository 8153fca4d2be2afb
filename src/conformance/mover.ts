/**
 * What every mover must do, whatever carries its blocks, sentence by sentence of ports/mover.ts: the target becomes equal
 * where it was asked to, nothing else is touched, what is recorded is true, and a failure says what failed.
 */
import { after, before, describe } from 'node:test';
import { checkTests } from './mover/checks.ts';
import { failureTests } from './mover/failures.ts';
import type { MoverHarness, MoverTest } from './mover/harness.ts';
import { transferTests } from './mover/transfers.ts';

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function moverSuite(
  name: string,
  start: () => Promise<MoverHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  const groups: readonly (readonly [string, (test: MoverTest) => void])[] = [
    ['transfers', transferTests],
    ['verifications and surveys', checkTests],
    ['pace, aborts and failures', failureTests],
  ];
  describe(`${name} as a mover`, { skip }, () => {
    let harness: MoverHarness;
    before(async () => {
      harness = await start();
    });
    after(() => harness?.[Symbol.asyncDispose]());
    for (const [group, define] of groups) {
      describe(group, () => define({ harness: () => harness }));
    }
  });
}
