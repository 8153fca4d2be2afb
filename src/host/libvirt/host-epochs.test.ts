import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { hostEpochsSuite } from '../../conformance/host-epochs.ts';
import { replicaId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { createHostEpochs, epochNotes, seenEpoch } from './host-epochs.ts';

const options = { signal: new AbortController().signal };
const replica = replicaId('rp-1');

async function storage() {
  const folder = await mkdtemp(join(tmpdir(), 'understudy epochs '));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

const epochsIn = (folder: string) =>
  createHostEpochs({ notes: epochNotes(folder), clock: systemClock() });

hostEpochsSuite('the storage folder of a host', async () => {
  const made = await storage();
  return { ...made, reopen: async () => epochsIn(made.folder) };
});

test('one file is left for a replica, and whatever else lies there is let be', async () => {
  await using made = await storage();
  const epochs = epochsIn(made.folder);
  await epochs.admit({ replicaId: replica, epoch: 1 }, options);
  for (const name of ['notes', 'rp-1.x', 'rp-1'])
    await writeFile(join(made.folder, 'epochs', name), '');
  await epochs.admit({ replicaId: replica, epoch: 12 }, options);
  assert.equal(await seenEpoch(made.folder, replica), 12);
  const names = await readdir(join(made.folder, 'epochs'));
  assert.deepEqual(names.toSorted(), ['notes', 'rp-1', 'rp-1.12', 'rp-1.x']);
});

test('a host that can keep no notes obeys, and makes no folder where its storage is not', async () => {
  await using made = await storage();
  const absent = join(made.folder, 'not mounted');
  await epochsIn(absent).admit({ replicaId: replica, epoch: 2 }, options);
  assert.deepEqual(await readdir(made.folder), []);
  await writeFile(join(made.folder, 'epochs'), 'in the way');
  await epochsIn(made.folder).admit({ replicaId: replica, epoch: 2 }, options);
});

test('a host whose storage hangs obeys, and asks it nothing more until it answers', async () => {
  const asked: string[] = [];
  const { promise: hung, resolve: answer } = Promise.withResolvers<number>();
  const notes = {
    seen: () => {
      asked.push('seen');
      return hung;
    },
    remember: async () => void asked.push('remember'),
  };
  const clock = systemClock();
  let isLate = true;
  const sleep: typeof clock.sleep = (ms, at) => (isLate ? Promise.resolve() : clock.sleep(ms, at));
  const epochs = createHostEpochs({ notes, clock: { ...clock, sleep } });
  for (const epoch of [2, 3]) await epochs.admit({ replicaId: replica, epoch }, options);
  assert.deepEqual(asked, ['seen']);
  isLate = false;
  answer(7);
  await setImmediate();
  await assert.rejects(epochs.admit({ replicaId: replica, epoch: 3 }, options), {
    code: 'epoch-refused',
  });
});
