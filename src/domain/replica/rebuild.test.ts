import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as sample from '../../conformance/catalog-samples.ts';
import { type BranchId, branchId, hostId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import { aboutReplica, readAbout } from './about.ts';
import {
  type FoundBranch,
  type FoundFolder,
  type FoundVm,
  REBUILT_ARCHIVE_MS,
  rebuildRefusal,
  rebuiltReplica,
} from './rebuild.ts';

const NOW = instant(5_000_000_000);
const PLACE = {
  sourceHostId: hostId('ho-1'),
  targetHostId: hostId('ho-2'),
  jobId: null,
  now: NOW,
};
const known = { sourceHost: sample.host, job: sample.job, points: [] };
const FOLDER: FoundFolder = {
  id: sample.replica.id,
  name: 'web-replica',
  epoch: 4,
  about: readAbout(aboutReplica(sample.replica, known)),
  points: [sample.point(1), sample.point(2)],
  branches: [],
  vms: [],
  home: null,
};

function branch(
  name: string,
  state: FoundBranch['state'],
  over: string | null = null,
): FoundBranch {
  return {
    id: branchId(name),
    pointId: sample.point(1).id,
    overBranchId: over === null ? null : branchId(over),
    state,
    keepUntil: state === 'archived' ? instant(1) : null,
    vm: null,
    about: null,
  };
}

function vm(on: BranchId | null, more: Partial<FoundVm> = {}): FoundVm {
  const id = vmId('0b5a6cfe-0000-4000-8000-00000000000a');
  return { id, name: 'web-replica', power: 'off', isConnected: false, branchId: on, ...more };
}

test('the phase follows from points, branches and what the VM runs on', () => {
  const phaseOf = (folder: Partial<FoundFolder>) =>
    rebuiltReplica({ ...FOLDER, ...folder }, PLACE).replica.phase;
  const active = branch('br-1', 'active');
  assert.equal(phaseOf({ points: [] }), 'Pending');
  assert.equal(phaseOf({}), 'Ready');
  assert.equal(phaseOf({ vms: [vm(null)] }), 'Ready');
  assert.equal(phaseOf({ branches: [active], vms: [vm(active.id)] }), 'Failover');
  assert.equal(phaseOf({ branches: [active], vms: [vm(null)] }), 'Ready');
  assert.equal(phaseOf({ branches: [branch('br-1', 'archived')], vms: [vm(active.id)] }), 'Ready');
});

test('what was made permanent is left alone, and so is what is of no VM', () => {
  assert.match(
    rebuildRefusal({ ...FOLDER, branches: [branch('b', 'promoted')] }) ?? '',
    /permanent/,
  );
  assert.match(rebuildRefusal({ ...FOLDER, about: null, points: [] }) ?? '', /which VM/);
  assert.equal(rebuildRefusal({ ...FOLDER, about: null }), null);
  assert.equal(rebuildRefusal({ ...FOLDER, points: [] }), null);
});

test('a replica that serves connected is told as unfenced', () => {
  const active = branch('br-1', 'active');
  const serving = vm(active.id, { power: 'running', isConnected: true });
  const found = { ...FOLDER, branches: [active], vms: [serving] };
  const { replica, conditions, notes } = rebuiltReplica(found, PLACE);
  assert.equal(replica.failover?.isConnected, true);
  assert.deepEqual(
    conditions.map(({ name }) => name),
    ['unfenced-source'],
  );
  assert.match(notes.join(), /is in Failover, running/);
});

test('of several VMs the one that is ours by identity or name is the replica, the others are told', () => {
  const active = branch('br-1', 'active');
  const other = vm(active.id, {
    id: vmId('0b5a6cfe-0000-4000-8000-00000000000b'),
    name: 'somebody else',
  });
  const found = { ...FOLDER, branches: [active], vms: [other, vm(null)] };
  const { replica, notes } = rebuiltReplica(found, PLACE);
  assert.equal(replica.phase, 'Ready');
  assert.equal(replica.targetVmId, vm(null).id);
  assert.match(notes.join(), /somebody else/);
  assert.match(notes.join(), /kept as an archive/);
});

const branches = fc
  .array(fc.record({ isActive: fc.boolean(), over: fc.nat() }), { maxLength: 8 })
  .map((plans) =>
    plans.map(({ isActive, over }, index) =>
      branch(
        `br-${index}`,
        isActive ? 'active' : 'archived',
        index === 0 || over % 2 === 0 ? null : `br-${over % index}`,
      ),
    ),
  );

test('every branch is in the failover or an archive, after what it lies over, and kept for a while', () => {
  fc.assert(
    fc.property(branches, fc.nat(), fc.boolean(), (all, which, isReversed) => {
      const on = all.length === 0 ? null : (all[which % all.length]?.id ?? null);
      const listed = isReversed ? all.toReversed() : all;
      const { replica } = rebuiltReplica({ ...FOLDER, branches: listed, vms: [vm(on)] }, PLACE);
      const archives = replica.archives.map((one) => one.branchId);
      const kept = [...archives, ...(replica.failover === null ? [] : [replica.failover.branchId])];
      assert.deepEqual(kept.toSorted(), all.map(({ id }) => id).toSorted());
      for (const [index, archive] of replica.archives.entries()) {
        assert.ok(archive.keepUntil >= NOW + REBUILT_ARCHIVE_MS);
        const below = archive.overBranchId;
        if (below === null || below === replica.failover?.branchId) continue;
        assert.ok(archives.indexOf(below) < index, 'what it lies over comes first');
      }
      assert.equal(replica.epoch, FOLDER.epoch + 1);
    }),
  );
});
