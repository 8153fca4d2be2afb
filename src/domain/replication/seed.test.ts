import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskKey, vmId } from '../ids.ts';
import { type Seed, seededDisks, seedName, seedOfDisk } from './seed.ts';

const VDA = diskKey('vda');
const VDB = diskKey('vdb');
const FILES: Seed = { type: 'files', files: [{ key: VDA, path: '/srv/a.qcow2' }] };
const VM: Seed = {
  type: 'vm',
  vmId: vmId('6b1f2c7e-4a55-4f6e-9d0e-2f43a1d6c001'),
  vmName: 'old web',
};

test('the disks that both have are seeded, and there must be one', () => {
  assert.deepEqual(seededDisks(FILES, [VDA, VDB], [VDA]), [VDA]);
  assert.deepEqual(seededDisks(VM, [VDB, VDA], [VDA, VDB, diskKey('vdc')]), [VDB, VDA]);
  for (const ofSeed of [[], [VDB]]) {
    assert.throws(() => seededDisks(FILES, [VDA], ofSeed), { code: 'seed-unfit' });
  }
});

test('a seed is told by what a person would look for', () => {
  assert.equal(seedName(FILES), '/srv/a.qcow2');
  assert.equal(seedName(VM), 'VM old web of the target host');
  const second = { key: VDB, path: '/srv/b.vhdx' };
  const both: Seed = { type: 'files', files: [...FILES.files, second] };
  assert.equal(seedName(both), '/srv/a.qcow2 and /srv/b.vhdx');
  assert.equal(seedOfDisk(both, VDB), '/srv/b.vhdx');
  assert.equal(seedOfDisk(VM, VDB), 'VM old web of the target host');
});
