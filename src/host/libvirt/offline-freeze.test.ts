import assert from 'node:assert/strict';
import { appendFile, chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type DiskKey, diskKey, markName, operationId, operationKey } from '../../domain/ids.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import { freezePlaces } from './freeze-record.ts';
import { parseImageHeader } from './marks-offline.ts';
import { exportDaemon } from './offline-export.ts';
import { consistencyOf, foundExtents } from './offline-freeze.ts';
import { changedSince, fileGeneration } from './offline-generation.ts';

const VDA: VmDisk = {
  key: diskKey('vda'),
  sizeBytes: 1,
  path: '/d/x,y"z:raw',
  format: 'qcow2',
  tracksChanges: true,
  unsupportedBecause: null,
};

const header = (...bitmaps: { name: string; flags: string[] }[]) =>
  parseImageHeader(JSON.stringify({ 'virtual-size': 9, 'format-specific': { data: { bitmaps } } }));
const since = { vda: markName('us-1') };

test('a mark counts only when it was closed and goes on recording', () => {
  const found = (flags: string[]) =>
    foundExtents(VDA, header({ name: 'us-1', flags }), { since }).type;
  assert.equal(found(['auto']), 'changed');
  assert.equal(found(['in-use', 'auto']), 'allocated');
  assert.equal(found([]), 'allocated');
  const missing = foundExtents(VDA, header(), { since });
  assert.ok(missing.type === 'allocated' && missing.markLostBecause !== null);
  const unasked = foundExtents(VDA, header(), { since: {} });
  assert.deepEqual(unasked, { type: 'allocated', markLostBecause: null });
  const raw = foundExtents({ ...VDA, tracksChanges: false }, header(), { since });
  assert.deepEqual(raw, { type: 'allocated', markLostBecause: null });
});

test('an image without bitmaps, backing file or format part is read', () => {
  assert.deepEqual(parseImageHeader('{"virtual-size":5}'), {
    sizeBytes: 5,
    bitmaps: [],
    backingPath: null,
  });
});

test('only a guest that shut itself down is application-consistent when off', () => {
  const quiesce = 'if-possible' as const;
  assert.equal(consistencyOf('shut off (shutdown)', { quiesce }).consistency, 'application');
  const crashed = consistencyOf('shut off (crashed)', { quiesce });
  assert.equal(crashed.consistency, 'crash');
  assert.match(crashed.consistencyNote ?? '', /crashed/);
  assert.equal(consistencyOf('shut off (crashed)', { quiesce: 'never' }).consistencyNote, null);
});

test('the export takes no lock on a disk, and any path stays one value', () => {
  const places = freezePlaces('/s, "x"', operationKey(operationId('op'), 'freeze'));
  const exported = [{ disk: VDA, since: markName('us-1') }];
  const { arguments: args } = exportDaemon(places, exported, new Set<DiskKey>());
  const option = (name: string) => JSON.parse(args[args.indexOf(name) + 1] ?? '');
  const node = option('--blockdev');
  assert.deepEqual(
    [node['read-only'], node.file.locking, node.file.driver, node.file.filename],
    [true, 'off', 'file', VDA.path],
  );
  assert.deepEqual(option('--export').bitmaps, ['us-1']);
  assert.equal(option('--export').writable, false);
  assert.match(args[args.indexOf('--chardev') + 1] ?? '', /path=\/s,, "x"\//);
  const device = exportDaemon(places, exported, new Set([VDA.key]));
  assert.ok(device.arguments.some((text) => text.includes('"host_device"')));
});

test('a disk that was opened, given away or written is not what it was; a shared layer may change hands', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'us-generation-'));
  try {
    const path = join(folder, 'disk');
    await writeFile(path, 'x', { mode: 0o600 });
    const own = await fileGeneration(path, { isShared: false });
    const shared = await fileGeneration(path, { isShared: true });
    assert.deepEqual(await changedSince([own, shared]), []);
    while ((await fileGeneration(path, { isShared: false })).seen === own.seen) {
      await chmod(path, 0o640);
    }
    assert.deepEqual(await changedSince([shared]), []);
    assert.deepEqual(await changedSince([own]), [path]);
    await appendFile(path, 'y');
    assert.deepEqual(await changedSince([shared]), [path]);
    await rm(path);
    assert.deepEqual(await changedSince([shared]), [path]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('places are short, and differ by key', () => {
  const one = freezePlaces('/s', operationKey(operationId('op'), 'freeze'));
  const two = freezePlaces('/s', operationKey(operationId('op'), 'freeze 2'));
  assert.notEqual(one.folder, two.folder);
  assert.equal(one.socketPath.length, '/s'.length + 1 + 16 + '/nbd'.length);
});
