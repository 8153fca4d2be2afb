/** Files that were changed by hand: an answer that names the file, never a crash. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { NEVER, unsealedPoint } from '../../conformance/replica-store/story.ts';
import { UnderstudyError } from '../../domain/error.ts';
import { branchId, diskKey, layerId, pointId, replicaId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { systemProcesses } from '../../system/processes.ts';
import { damage, damaged } from '../testing/damaged-json.ts';
import { readBranch } from './branch-file.ts';
import { replicaLayout } from './layout.ts';
import { readPoint } from './point-file.ts';
import { parseQcow2Header } from './qcow2-header.ts';
import { readRecord } from './record.ts';
import { createReplicaStore } from './store.ts';

const REPLICA = replicaId('rep-1');
const POINT = pointId('p1');
const BRANCH = branchId('b1');
const identity = { sizeBytes: 196_616, mtimeNs: '1700000000000000001', inode: '12' };
const layers = ['l-1', 'l-2'].map((id, n) => ({
  id: layerId(id),
  disk: diskKey('vda'),
  parentId: n === 0 ? null : layerId('l-1'),
  sizeBytes: 65_536,
}));
const plan = { vda: { sizeBlocks: 1, base: 'none', writes: new Map() } } as const;
const hash = 'ab'.repeat(32);

const RECORD = {
  formatVersion: 1,
  id: REPLICA,
  name: 'a',
  epoch: 3,
  layers: layers.map((layer) => ({ ...layer, identity, isDamaged: false })),
  partials: [{ pointId: 'p2', parentPointId: 'p1', layers: [] }],
  merges: [{ layerId: 'l-2', intoId: 'l-1' }],
  debris: ['l-9'],
  promotedBranchId: null,
};
const unsealed = unsealedPoint(POINT, plan, 1);
const POINT_FILE = {
  formatVersion: 1,
  ...unsealed,
  replicaId: REPLICA,
  disks: unsealed.disks.map((disk) => ({ ...disk, layerId: 'l-2', rootHash: hash })),
  rootHash: hash,
  sidecars: ['nvram'],
};
const BRANCH_FILE = {
  formatVersion: 1,
  id: BRANCH,
  pointId: POINT,
  overBranchId: 'br-0',
  takenAt: 4,
  vm: POINT_FILE.vm,
  mark: 'us-b1',
  state: 'archived',
  keepUntil: 5,
  disks: [{ key: 'vda', layerId: 'l-2', identity }],
  sidecars: [],
};

test('damaged files are read or refused by name, and nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'us-files-'));
  const layout = replicaLayout(folder, REPLICA);
  const files = [
    [layout.record, RECORD, () => readRecord(layout)],
    [layout.pointFile(POINT), POINT_FILE, () => readPoint(layout, POINT)],
    [layout.branchFile(BRANCH), BRANCH_FILE, () => readBranch(layout, BRANCH)],
  ] as const;
  const store = createReplicaStore({
    storageFolder: folder,
    runtimeFolder: join(folder, 'run'),
    processes: systemProcesses(),
    clock: systemClock(),
  });
  try {
    for (const [path, content, read] of files) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, JSON.stringify(content));
      assert.ok((await read()) !== null);
    }
    const which = fc.integer({ min: 0, max: files.length - 1 });
    await fc.assert(
      fc.asyncProperty(which, damage, async (index, change) => {
        const file = files[index];
        assert.ok(file);
        const [path, content, read] = file;
        await writeFile(path, damaged(content, change));
        await read().catch((error: unknown) => {
          assert.ok(error instanceof UnderstudyError, String(error));
          assert.equal(error.code, 'invalid-file');
          assert.equal(error.details.path, path);
        });
        assert.ok(Array.isArray(await store.inspect(REPLICA, NEVER)));
        await writeFile(path, JSON.stringify(content));
      }),
      { numRuns: 250 },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a branch that an older version made is read: it lies over its point', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'us-files-'));
  const layout = replicaLayout(folder, REPLICA);
  try {
    const { overBranchId: _over, takenAt: _at, vm: _vm, mark: _mark, ...old } = BRANCH_FILE;
    await mkdir(layout.branchFolder(BRANCH), { recursive: true });
    await writeFile(layout.branchFile(BRANCH), JSON.stringify(old));
    const read = await readBranch(layout, BRANCH);
    assert.deepEqual(read, {
      ...old,
      overBranchId: null,
      takenAt: null,
      vm: null,
      mark: null,
      about: null,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('any bytes are a qcow2 header or none', () => {
  const magic = Buffer.from('514649fb00000003', 'hex');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, isLikely) => {
      const header = parseQcow2Header(Buffer.concat(isLikely ? [magic, bytes] : [bytes]));
      assert.ok(header === null || Number.isSafeInteger(header.virtualSizeBytes));
    }),
  );
});
