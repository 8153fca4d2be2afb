import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { BLOCK_BYTES, TIB } from '../../domain/bytes.ts';
import { diskKey, operationId, operationKey, pointId } from '../../domain/ids.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import { systemProcesses } from '../../system/processes.ts';
import { type ChainHarness, createChainHarness, needsQemu, qemu } from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const BASE: PointPlan = {
  vda: { sizeBlocks: 4, base: 'none', writes: new Map([[1, 1]]) },
  vdb: { sizeBlocks: 4, base: 'none', writes: new Map([[2, 2]]) },
};
/** Layers over others are served: QEMU alone may write to them. */
const PLAN: PointPlan = {
  vda: { sizeBlocks: 4, base: 'parent', writes: new Map([[1, 3]]) },
  vdb: { sizeBlocks: 4, base: 'parent', writes: new Map([[3, 4]]) },
};

async function begin(harness: ChainHarness): Promise<Story> {
  const story = await Story.begin(harness);
  await story.replicate('p1', null, BASE);
  return story;
}

async function onlySession({ runtimeFolder }: ChainHarness) {
  const [name, ...others] = await readdir(runtimeFolder);
  assert.ok(name !== undefined && others.length === 0, 'one session for all disks');
  const text = await readFile(join(runtimeFolder, name, 'session.json'), 'utf8');
  return JSON.parse(text).process;
}

describe('servers of images', { skip: needsQemu }, () => {
  test('one left running by an earlier life is ended, and no session stays', async () => {
    await using harness = await createChainHarness();
    const story = await begin(harness);
    await story.fill(await story.open(P2, P1, PLAN), PLAN);
    const server = await onlySession(harness);
    const processes = systemProcesses();
    assert.equal(await processes.isAlive(server), true);
    await story.reopen();
    await story.store.inspect(REPLICA, NEVER);
    assert.equal(await processes.isAlive(server), false);
    assert.deepEqual(await readdir(harness.runtimeFolder), []);
    await story.seal(P2, P1, PLAN);
    await story.assertPoints();
    assert.deepEqual(await readdir(harness.runtimeFolder), []);
  });

  // Else the first write to each 512 MiB of a disk is sixteen more, one after the other: nbd-server-tuning.ts.
  test('one that writes layers writes their tables whole', async () => {
    await using harness = await createChainHarness();
    const story = await begin(harness);
    const { processes, written } = listening();
    story.store = harness.openWith({ processes });
    await story.fill(await story.open(P2, P1, PLAN), PLAN);
    await story.seal(P2, P1, PLAN);
    await story.assertPoints();
    assert.deepEqual(
      written().map((each) => each['l2-cache-entry-size']),
      [65_536, 65_536],
    );
  });

  for (const moment of ['at once', 'when it serves']) {
    test(`one whose starter died before it wrote down which process it is (${moment}) is ended`, async () => {
      await using harness = await createChainHarness();
      const story = await begin(harness);
      const real = systemProcesses();
      const started: ProcessIdentity[] = [];
      const startDaemon: typeof real.startDaemon = async (daemon) => {
        const process = await real.startDaemon(daemon);
        started.push(process);
        const ready = daemon.arguments.at(-1) ?? '';
        while (moment !== 'at once' && !(await harness.exists(ready))) await setImmediate();
        throw new Error('died');
      };
      story.store = harness.openWith({ processes: { ...real, startDaemon } });
      await assert.rejects(story.open(P2, P1, PLAN), { code: 'unexpected' });
      const [server] = started;
      assert.ok(server !== undefined);
      try {
        await story.reopen();
        await story.fill(await story.open(P2, P1, PLAN), PLAN);
        while (await real.isAlive(server)) await setImmediate();
        await story.seal(P2, P1, PLAN);
        await story.assertPoints();
        assert.deepEqual(await readdir(harness.runtimeFolder), []);
      } finally {
        await real.end(server, 0, NEVER);
      }
    });
  }

  test('opening again finds the same server; a dead one is replaced and nothing flushed is lost', async () => {
    await using harness = await createChainHarness();
    const story = await begin(harness);
    const opened = await story.open(P2, P1, PLAN);
    await story.fill(opened, PLAN);
    assert.deepEqual(await story.open(P2, P1, PLAN), opened);
    const server = await onlySession(harness);
    await systemProcesses().end(server, 0, NEVER);
    const again = await story.open(P2, P1, PLAN);
    assert.notDeepEqual(await onlySession(harness), server);
    assert.equal(again.length, 2);
    await story.seal(P2, P1, PLAN);
    await story.assertPoints();
  });

  test('several connections may be used at once', async () => {
    await using harness = await createChainHarness();
    const story = await begin(harness);
    const [disk] = await story.open(P2, P1, PLAN);
    assert.ok(disk !== undefined && 'address' in disk.target);
    assert.ok(disk.target.address.type === 'unix');
    const socket = encodeURIComponent(disk.target.address.path);
    const about = await qemu('nbdinfo', ['--json', `nbd+unix:///vda?socket=${socket}`]).catch(
      () => null,
    );
    // nbdinfo is not one of the programs that tests may rely on.
    if (about === null) return;
    assert.equal(JSON.parse(about).exports[0].can_multi_conn, true);
  });

  test('images that someone else has open are named; a long runtime folder is refused', async () => {
    await using harness = await createChainHarness();
    const story = await begin(harness);
    await story.open(P2, P1, PLAN);
    const otherFolder = await mkdtemp(join(tmpdir(), 'us-run-'));
    try {
      const partial = {
        ...story.command(),
        pointId: P2,
        parentPointId: P1,
        disks: Object.entries(PLAN).map(([key, { sizeBlocks }]) => ({
          key: key as 'vda' & never,
          sizeBytes: sizeBlocks * 65_536,
          base: 'parent' as const,
          wantsKnownHashes: false,
        })),
      };
      const other = harness.openWith({ runtimeFolder: otherFolder });
      await assert.rejects(other.openPartial(partial, NEVER), { code: 'image-in-use' });
      assert.deepEqual(await readdir(otherFolder), []);
      const long = harness.openWith({ runtimeFolder: join(otherFolder, 'x'.repeat(100)) });
      await assert.rejects(long.openPartial(partial, NEVER), { code: 'invalid-request' });
    } finally {
      await rm(otherFolder, { recursive: true, force: true });
    }
  });

  test('none is started for what is filled from nothing', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    const opened = await story.open(P1, null, BASE);
    assert.deepEqual(
      opened.map(({ key, layerId, target }) => [key, layerId, target]),
      opened.map(({ key, layerId }) => {
        const imagePath = join(harness.storageFolder, REPLICA, 'layers', layerId, `${key}.qcow2`);
        return [key, layerId, { imagePath }];
      }),
    );
    assert.deepEqual(await readdir(harness.runtimeFolder).catch(() => []), []);
    await story.fill(opened, BASE);
    await story.seal(P1, null, BASE);
    await story.assertPoints();
  });

  test('a disk that is too large to be filled in its file is served, beside one that is not', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    const plan: PointPlan = {
      vda: { sizeBlocks: 4, base: 'none', writes: new Map([[1, 1]]) },
      vdb: { sizeBlocks: 16 * (TIB / BLOCK_BYTES), base: 'none', writes: new Map([[2, 2]]) },
    };
    const [vda, vdb] = await story.open(P1, null, plan);
    assert.ok(vda !== undefined && 'imagePath' in vda.target);
    assert.ok(vdb !== undefined && 'address' in vdb.target);
  });

  test('an export that is served is flushed when a disk was copied, not only at its end', async () => {
    await using harness = await createChainHarness();
    const { processes, written } = listening();
    const store = harness.openWith({ processes });
    const disks = [{ key: diskKey('vda'), sizeBytes: 16 * TIB }];
    const command = { key: operationKey(operationId('op'), 'copy'), replicaId: REPLICA };
    await store.openExport({ ...command, exportId: 'large', disks }, NEVER);
    assert.deepEqual(
      written().map(({ file }) => file.cache),
      [undefined],
    );
    await store.discardExport({ ...command, exportId: 'large' }, NEVER);
  });

  test('an image to be filled that a program may write to is named', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    const [disk] = await story.open(P1, null, BASE);
    assert.ok(disk !== undefined && 'imagePath' in disk.target);
    const ready = join(harness.storageFolder, 'ready');
    const file = { driver: 'file', filename: disk.target.imagePath };
    const node = { driver: 'qcow2', 'node-name': 'disk', file };
    const real = systemProcesses();
    const other = await real.startDaemon({
      command: 'qemu-storage-daemon',
      arguments: ['--blockdev', JSON.stringify(node), '--pidfile', ready],
      env: {},
      logPath: `${ready}.log`,
    });
    try {
      while (!(await harness.exists(ready))) await setImmediate();
      await assert.rejects(story.open(P1, null, BASE), { code: 'image-in-use' });
    } finally {
      await real.end(other, 0, NEVER);
    }
    await story.fill(await story.open(P1, null, BASE), BASE);
  });
});

/** Processes that remember the images that were served for writing. */
function listening() {
  const processes = systemProcesses();
  const told: string[] = [];
  const startDaemon: typeof processes.startDaemon = (daemon) => {
    told.push(...daemon.arguments.filter((each) => each.includes('"driver":"qcow2"')));
    return processes.startDaemon(daemon);
  };
  const written = () =>
    told.map((each) => JSON.parse(each)).filter((each) => each['read-only'] !== true);
  return { processes: { ...processes, startDaemon }, written };
}
