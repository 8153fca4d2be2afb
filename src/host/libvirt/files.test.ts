/** Files beside the hypervisor that were changed by hand or by a power cut: an answer, never a crash, and nothing is changed. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../../domain/error.ts';
import {
  diskKey,
  failbackId,
  markName,
  operationId,
  operationKey,
  replicaId,
  vmId,
} from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import { anyBytes, damage, damaged } from '../testing/damaged-json.ts';
import { type FreezeRecord, freezePlaces, readRecord, recordsOf } from './freeze-record.ts';
import { readGuard, readGuards } from './guard-files.ts';
import { seenEpoch } from './host-epochs.ts';
import { type LayersRecord, layersPlaces, readLayers } from './layers-record.ts';

const vda = diskKey('vda');
const vm: VmDescription = {
  id: vmId('11111111-2222-4333-8444-555555555555'),
  name: 'a',
  power: 'off',
  memoryBytes: 1024,
  cpuCount: 1,
  disks: [
    {
      key: vda,
      sizeBytes: 65_536,
      path: '/d/vda.qcow2',
      format: 'qcow2',
      tracksChanges: true,
      unsupportedBecause: null,
    },
  ],
  nics: [{ mac: null, network: 'user', isConnected: true }],
  configuration: { format: 'libvirt-domain-xml', text: '<domain/>' },
  hasSavedState: false,
};
const process = { pid: 7, startTime: '1-2' };

const LAYERS: LayersRecord = {
  format: 1,
  replicaId: replicaId('rep-1'),
  state: 'attached',
  vmId: vm.id,
  originalXml: '<domain/>',
  startsWithHost: true,
  layers: [
    {
      key: vda,
      path: '/l/vda.qcow2',
      sizeBytes: 1024,
      below: { path: '/b', format: 'raw' },
      since: markName('us-0'),
    },
  ],
  mark: markName('us-1'),
  changes: [
    { type: 'cpus', from: 1, to: 2 },
    { type: 'memory', fromBytes: 1, toBytes: 2 },
    { type: 'nic-added', mac: '52:54:00:00:00:01', network: 'network:lan' },
    { type: 'disk-added', key: vda, sizeBytes: 1 },
    { type: 'disk-grown', key: vda, fromBytes: 1, toBytes: 2 },
    { type: 'disk-removed', key: vda },
  ],
  hasNvram: false,
  process,
};

const KEY = operationKey(operationId('op-1'), 'freeze');
const FREEZE: FreezeRecord = {
  format: 1,
  key: KEY,
  vmId: vm.id,
  mark: markName('us-2'),
  kind: 'off',
  isQuiesced: true,
  quotaBytes: 65_536,
  process,
  generation: [{ path: '/d/vda.qcow2', seen: '1:2:3:4:5' }],
  point: {
    takenAt: instant(4),
    consistency: 'crash',
    consistencyNote: null,
    vm,
    disks: [
      {
        key: vda,
        sizeBytes: 65_536,
        tracksChanges: true,
        found: { type: 'changed', since: markName('us-1') },
        endpoint: { address: { type: 'unix', path: '/s/nbd' }, exportName: 'vda' },
        extents: { type: 'changed', metaContext: 'qemu:dirty-bitmap:us-1' },
        mark: markName('us-2'),
      },
      {
        key: diskKey('vdb'),
        sizeBytes: 65_536,
        tracksChanges: false,
        found: { type: 'allocated', markLostBecause: null },
        endpoint: { address: { type: 'tcp', host: '127.0.0.1', port: 10809 }, exportName: 'vdb' },
        extents: { type: 'allocated' },
        mark: null,
      },
    ],
    sidecars: [{ name: 'nvram', path: '/s/nvram' }],
  },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'us-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const RUNS = { numRuns: 250 };

/** Gives the file each content, and sees that reading leaves it alone. */
async function whateverIsIn(
  path: string,
  content: unknown,
  read: () => Promise<void>,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const contents = fc.oneof(
    anyBytes,
    damage.map((change) => damaged(content, change)),
  );
  await fc.assert(
    fc.asyncProperty(contents, async (text) => {
      const bytes = Buffer.from(text);
      await writeFile(path, bytes);
      const names = await readdir(folder, { recursive: true });
      await read();
      assert.ok((await readFile(path)).equals(bytes));
      assert.deepEqual(await readdir(folder, { recursive: true }), names);
    }),
    RUNS,
  );
}

describe('damaged files', () => {
  it('a record of working layers is read whole or refused by name', async () => {
    const places = layersPlaces(folder, failbackId('fb-1'));
    await mkdir(places.folder, { recursive: true });
    await writeFile(places.recordPath, JSON.stringify(LAYERS));
    assert.deepEqual(await readLayers(places), LAYERS);
    await whateverIsIn(places.recordPath, LAYERS, async () => {
      const read = await readLayers(places).catch((error: unknown) => {
        assert.ok(error instanceof UnderstudyError, String(error));
        assert.equal(error.code, 'invalid-file');
        assert.equal(error.details.path, places.recordPath);
        return error;
      });
      if (!(read instanceof UnderstudyError)) assert.deepEqual(shapeOf(read), shapeOf(LAYERS));
    });
  });

  it('a record of a freeze is read whole or is none', async () => {
    const places = freezePlaces(folder, KEY);
    await writeFile(places.recordPath, JSON.stringify(FREEZE));
    assert.deepEqual(await readRecord(places.recordPath), FREEZE);
    assert.deepEqual(await recordsOf(folder, vm.id), [FREEZE]);
    await whateverIsIn(places.recordPath, FREEZE, async () => {
      const read = await readRecord(places.recordPath);
      const all = await recordsOf(folder, vm.id);
      assert.ok(all.every((one) => freezePlaces(folder, one.key).id === places.id));
      if (read !== null) assert.deepEqual(shapeOf(read), shapeOf(FREEZE));
    });
  });

  it('a guard holds its VM whatever is in it', async () => {
    const held = { vmId: vm.id, replicaId: replicaId('rep-1') };
    const name = `${held.vmId}.${held.replicaId}`;
    const text = `A replica serves.\n${JSON.stringify({ epoch: 4, since: 5 })}\n`;
    await writeFile(join(folder, name), text);
    const whole = { ...held, epoch: 4, since: 5, reason: 'A replica serves.' };
    assert.deepEqual(await readGuard(folder, held), whole);
    await whateverIsIn(join(folder, name), { epoch: 4, since: 5 }, async () => {
      const guard = await readGuard(folder, held);
      assert.ok(guard !== null && Number.isSafeInteger(guard.epoch) && guard.epoch >= 0);
      assert.ok(Number.isSafeInteger(guard.since));
      assert.deepEqual(await readGuards(folder), [guard]);
    });
    const memory = damage.map((change) => damaged({ epoch: 4, since: 5 }, change));
    await fc.assert(
      fc.asyncProperty(memory, async (second) => {
        await writeFile(join(folder, name), `A replica serves.\n${second}`);
        const guard = await readGuard(folder, held);
        assert.equal(guard?.reason, 'A replica serves.');
        assert.ok(Number.isSafeInteger(guard?.epoch) && Number.isSafeInteger(guard?.since));
      }),
      RUNS,
    );
  });

  it('files of other names are no guards and no epochs', async () => {
    const replica = replicaId('rep-1');
    const names = fc.oneof(
      fc.string({ minLength: 1, maxLength: 60 }),
      fc.string({ maxLength: 20 }).map((end) => `${replica}.${end}`),
      fc
        .constantFrom('1e3', '0x10', '-1', '', ' 7', '7.0', '1'.repeat(30))
        .map((n) => `${replica}.${n}`),
      fc.string({ maxLength: 20 }).map((end) => `${vm.id}.${end}`),
    );
    const isName = (name: string) => !/[/\0]/.test(name) && name !== '.' && name !== '..';
    await mkdir(join(folder, 'epochs'));
    await fc.assert(
      fc.asyncProperty(names.filter(isName), async (name) => {
        const paths = [join(folder, name), join(folder, 'epochs', name)];
        for (const path of paths) await writeFile(path, '');
        const number = /^rep-1\.(\d{1,15})$/.exec(name)?.[1];
        assert.equal(await seenEpoch(folder, replica), Number(number ?? 0));
        const guards = (await readGuards(folder)) ?? [];
        assert.ok(guards.every((guard) => name === `${guard.vmId}.${guard.replicaId}`));
        for (const path of paths) await rm(path);
      }),
      RUNS,
    );
  });
});

/** The types of everything in it that is always there. */
function shapeOf(value: object | null): unknown {
  return Object.entries(value ?? {})
    .filter(([, part]) => part !== null)
    .map(([name, part]) => [name, Array.isArray(part) ? 'array' : typeof part])
    .filter(([name]) => !NULLABLE.includes(name ?? ''));
}

const NULLABLE = ['vmId', 'originalXml', 'mark', 'process', 'point'];
