/** What every host must remember of who is in charge, also when it is asked anew. The harness gives one that has heard of nothing. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { replicaId } from '../domain/ids.ts';
import type { HostEpochs } from '../ports/host-epochs.ts';

export interface HostEpochsHarness extends AsyncDisposable {
  /** As after a restart of whatever answers for the host. */
  reopen(): Promise<HostEpochs>;
}

/** Registers the suite with node:test. */
export function hostEpochsSuite(name: string, start: () => Promise<HostEpochsHarness>): void {
  describe(`${name} as keeper of epochs`, () => {
    const options = { signal: new AbortController().signal };
    const [one, other] = [replicaId('rp-1'), replicaId('rp-10')];
    let harness: HostEpochsHarness;
    let epochs: HostEpochs;
    beforeEach(async () => {
      harness = await start();
      epochs = await harness.reopen();
    });
    afterEach(() => harness[Symbol.asyncDispose]());

    const admit = (id: typeof one, epoch: number) =>
      epochs.admit({ replicaId: id, epoch }, options);
    const refused = (id: typeof one, epoch: number, current: number) =>
      assert.rejects(admit(id, epoch), {
        code: 'epoch-refused',
        details: { replica: id, current, epoch },
      });

    it('admits whoever is in charge, again and again, and who takes over', async () => {
      for (const epoch of [1, 1, 2, 7, 7]) await admit(one, epoch);
    });

    it('refuses who was superseded, with both epochs', async () => {
      await admit(one, 9);
      await admit(one, 10);
      await refused(one, 9, 10);
      await admit(one, 10);
    });

    it('keeps replicas apart', async () => {
      await admit(one, 5);
      await admit(other, 2);
      await refused(other, 1, 2);
      await refused(one, 4, 5);
    });

    it('remembers across a restart', async () => {
      await admit(one, 3);
      epochs = await harness.reopen();
      await refused(one, 2, 3);
      await admit(one, 3);
    });

    it('never goes back, whoever comes at the same time', async () => {
      const again = await harness.reopen();
      const both = [8, 3, 6, 9, 4].map((epoch, index) =>
        (index % 2 === 0 ? epochs : again).admit({ replicaId: one, epoch }, options),
      );
      await Promise.allSettled(both);
      await refused(one, 8, 9);
    });
  });
}
