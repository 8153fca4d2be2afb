import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { diskKey, failbackId, markName, replicaId } from '../../domain/ids.ts';
import {
  type LayersRecord,
  layersPlaces,
  readLayers,
  removeLayers,
  writeLayers,
} from './layers-record.ts';

let storage: string;
beforeEach(async () => {
  storage = await mkdtemp(join(tmpdir(), 'us-layers-record-'));
});
afterEach(() => rm(storage, { recursive: true }));

function recordOf(): LayersRecord {
  const places = layersPlaces(storage, failbackId('fb-1'));
  const rest = { sizeBytes: 1024, since: null };
  return {
    format: 1,
    replicaId: replicaId('replica-1'),
    state: 'laid',
    vmId: null,
    originalXml: '<domain/>',
    startsWithHost: true,
    layers: [
      {
        ...rest,
        key: diskKey('vda'),
        path: places.layerPath(diskKey('vda')),
        below: { path: '/b', format: 'raw' },
      },
      { ...rest, key: diskKey('vdb'), path: places.layerPath(diskKey('vdb')), below: null },
    ],
    mark: markName('us-1'),
    changes: [{ type: 'cpus', from: 1, to: 2 }],
    hasNvram: false,
    process: { pid: 7, startTime: '1-2' },
  };
}

test('a record reads back as it was written, for nobody else to read, in a folder that QEMU may pass', async () => {
  const places = layersPlaces(storage, failbackId('fb-1'));
  assert.equal(await readLayers(places), null);
  const before = process.umask(0o077);
  try {
    await writeLayers(places, recordOf());
  } finally {
    process.umask(before);
  }
  assert.deepEqual(await readLayers(places), recordOf());
  assert.equal((await stat(places.recordPath)).mode & 0o777, 0o600);
  for (const folder of [places.folder, join(storage, 'failbacks')]) {
    assert.equal((await stat(folder)).mode & 0o777, 0o711, folder);
  }
});

test('removing leaves nothing, or the disks that became the VM’s own', async () => {
  const places = layersPlaces(storage, failbackId('fb-1'));
  const record = await writeLayers(places, recordOf());
  const make = () => Promise.all(record.layers.map(({ path }) => writeFile(path, '')));
  await make();
  // As an attempt left it that was cut off, or a server.
  for (const name of ['kept-tpm.tar', 'kept-tpm.tar.new', 'record.json.new', 'server.log']) {
    await writeFile(join(places.folder, name), '');
  }
  await removeLayers(places, record, { keepsDisks: true });
  assert.deepEqual(await readdir(places.folder), ['vdb.qcow2']);
  await make();
  await removeLayers(places, record, { keepsDisks: false });
  assert.deepEqual(await readdir(join(storage, 'failbacks')), []);
});
