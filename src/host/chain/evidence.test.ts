/** What may not be undone is done only on the evidence of the images themselves. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import {
  type ChainHarness,
  createChainHarness,
  needsQemu,
  qemu,
  writeFills,
} from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const BASE: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'none',
    writes: new Map([
      [0, 1],
      [5, 2],
    ]),
  },
};
const NEXT: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'parent',
    writes: new Map([
      [1, 3],
      [5, 0],
    ]),
  },
};

async function imagesOf({ storageFolder }: ChainHarness): Promise<readonly string[]> {
  const layers = join(storageFolder, REPLICA, 'layers');
  return (await readdir(layers)).map((name) => join(layers, name, 'vda.qcow2'));
}

describe('evidence', { skip: needsQemu }, () => {
  test('a branch that only says that it stands alone is not promoted: its content may be in a QEMU that died', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.replicate('p1', null, BASE);
    await story.replicate('p2', P1, NEXT);
    const { id, disks } = await story.branch('b1', P2);
    const path = disks[0]?.path ?? '';
    await qemu('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', '', path]);
    const promote = () => story.store.promoteBranch({ ...story.command(), branchId: id }, NEVER);
    await assert.rejects(promote(), { code: 'verification-failed' });
    await story.assertPoints();
    assert.deepEqual(await story.readBranch(id, 'vda'), story.contentOf(P2, 'vda'));
    await assert.rejects(promote(), { code: 'invalid-request' });
    for (const disk of disks) await harness.flattenBranch(disk);
    await promote();
    assert.deepEqual(await story.readBranch(id, 'vda'), story.contentOf(P2, 'vda'));
  });

  test('a layer that does not hold what its records say is not sealed', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.fill(await story.open(P1, null, BASE), BASE);
    await story.reopen();
    await story.store.inspect(REPLICA, NEVER);
    const [image = ''] = await imagesOf(harness);
    await rm(image);
    await qemu('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(8 * 65_536)]);
    await assert.rejects(story.seal(P1, null, BASE), { code: 'verification-failed' });
    assert.deepEqual(await story.store.points(REPLICA, NEVER), []);
    await rm(image);
    await assert.rejects(story.seal(P1, null, BASE), { code: 'verification-failed' });
    await story.fill(await story.open(P1, null, BASE), BASE);
    await story.seal(P1, null, BASE);
    await story.assertPoints();
  });

  test('a branch that a QEMU has open is neither archived nor deleted', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.replicate('p1', null, BASE);
    const { id, disks } = await story.branch('b1', P1);
    const path = disks[0]?.path ?? '';
    const vm = spawn('qemu-io', ['-f', 'qcow2', path]);
    try {
      const opened = once(vm.stdout, 'data');
      vm.stdin.write('write -q -P 9 0 64k\n');
      vm.stdin.write('length\n');
      await opened;
      const archive = { ...story.command(), branchId: id, keepUntil: instant(1) };
      await assert.rejects(story.store.archiveBranch(archive, NEVER), { code: 'image-in-use' });
      const command = { ...story.command(), branchId: id };
      await assert.rejects(story.store.deleteBranch(command, NEVER), { code: 'image-in-use' });
      assert.equal((await stat(path)).mode & 0o777, 0o660);
    } finally {
      vm.stdin.end('quit\n');
      await once(vm, 'close');
    }
    await writeFills(path, 'qcow2', new Map([[2, 4]]));
    const archive = { ...story.command(), branchId: id, keepUntil: instant(1) };
    await story.store.archiveBranch(archive, NEVER);
    assert.deepEqual((await story.readBranch(id, 'vda')).slice(0, 3), [9, 0, 4]);
    await story.store.deleteBranch({ ...story.command(), branchId: id }, NEVER);
  });
});
