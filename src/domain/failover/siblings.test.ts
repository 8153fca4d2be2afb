import assert from 'node:assert/strict';
import { it } from 'node:test';
import { hostId, replicaId, vmId } from '../ids.ts';
import type { Phase } from '../replica/phase.ts';
import type { Replica } from '../replica/replica.ts';
import type { FailbackHome } from './failback.ts';
import { failbackHolding, failbackTo, leftBeside, siblingsOf, standInsBeside } from './siblings.ts';

const WEB = vmId('00000000-0000-4000-8000-000000000001');
const NEAR_VM = vmId('00000000-0000-4000-8000-000000000002');
const COPY = vmId('00000000-0000-4000-8000-000000000003');
const SOURCE = { hostId: hostId('production'), vmId: WEB };

function replica(name: string, more: object = {}): Replica {
  return {
    id: replicaId(`rp-${name}`),
    name,
    phase: 'Ready' satisfies Phase,
    sourceHostId: SOURCE.hostId,
    sourceVmId: SOURCE.vmId,
    targetHostId: hostId(name),
    targetVmId: NEAR_VM,
    sourceVmName: 'web',
    formerSource: null,
    failback: null,
    ...more,
  } as Replica;
}

const far = replica('far');

it('knows the other replicas of the same VM, and no others', () => {
  const near = replica('near');
  const elsewhere = replica('elsewhere', { sourceHostId: hostId('other') });
  const another = replica('another', { sourceVmId: COPY });
  assert.deepEqual(siblingsOf(far, [far, near, elsewhere, another]), [near]);
});

it('counts a replica as a stand-in in every phase in which it may run', () => {
  const standIn = { hostId: hostId('near'), vmId: NEAR_VM, name: 'near', replicaName: 'near' };
  for (const phase of ['Failover', 'ReadyToSwitch', 'Failback', 'Permanent'] as const) {
    assert.deepEqual(standInsBeside(far, [far, replica('near', { phase })]), [standIn], phase);
  }
  for (const phase of ['Pending', 'Ready', 'Removed'] as const) {
    assert.deepEqual(standInsBeside(far, [far, replica('near', { phase })]), [], phase);
  }
});

it('counts a replica at rest whose VM nobody has seen off since it was given up by force', () => {
  const near = replica('near');
  const standIn = { hostId: hostId('near'), vmId: NEAR_VM, name: 'near', replicaName: 'near' };
  assert.deepEqual(standInsBeside(far, [far, near], [near.id]), [standIn]);
  const removed = replica('near', { phase: 'Removed' });
  assert.deepEqual(standInsBeside(far, [far, removed], [near.id]), []);
});

it('counts what a forced undo left serving, for its own replica and the others of the VM, but not the source', () => {
  const near = replica('near');
  const web2 = { hostId: hostId('spare'), vmId: COPY, name: 'web-2' };
  const left = [{ ...web2, replicaId: near.id }];
  const origin = 'production before a failback was undone';
  for (const one of [near, far]) {
    assert.deepEqual(leftBeside(one, [far, near], left), [
      { ...web2, replicaName: 'near', origin },
    ]);
  }
  const another = replica('another', { sourceVmId: COPY });
  assert.deepEqual(leftBeside(another, [another, near], left), []);
  const source = { ...SOURCE, name: 'web', replicaId: near.id };
  assert.deepEqual(leftBeside(near, [near], [source]), []);
});

it('counts the VM that a failback went to, unless it is the source itself', () => {
  const at = (home: object) =>
    replica('near', { phase: 'Failback', failback: { home: { ...SOURCE, name: 'web', ...home } } });
  assert.equal(standInsBeside(far, [at({})]).length, 1);
  assert.deepEqual(standInsBeside(far, [at({ vmId: COPY, name: 'web-copy' })])[1], {
    hostId: SOURCE.hostId,
    vmId: COPY,
    name: 'web-copy',
    replicaName: 'near',
  });
});

it('sees the source that it went home from, and what takes its place, when another replica is still of it', () => {
  const formerSource = { ...SOURCE, name: 'web', leftAt: 0 };
  const moved = replica('far', { sourceHostId: hostId('spare'), sourceVmId: COPY, formerSource });
  const near = replica('near', { phase: 'Failover' });
  assert.deepEqual(
    standInsBeside(moved, [moved, near]).map(({ hostId: host, vmId: id }) => [host, id]),
    [
      [SOURCE.hostId, SOURCE.vmId],
      [hostId('near'), NEAR_VM],
    ],
  );
});

it('says whose failback holds the source: one to it that has not switched over', () => {
  const at = (home: object, switched: object | null) =>
    replica('near', { failback: { home: { ...SOURCE, ...home }, switched } });
  const holding = at({}, null);
  assert.equal(failbackHolding(far, [far, holding]), holding);
  assert.equal(failbackHolding(far, [at({}, {})]), null);
  assert.equal(failbackHolding(far, [at({ vmId: COPY }, null)]), null);
  assert.equal(failbackHolding(holding, [holding]), null);
});

it('says whose failback lies over a home, also after the switchover, and for replicas of other VMs', () => {
  const at = (home: object, switched: object | null) =>
    replica('near', { sourceVmId: COPY, failback: { home: { ...SOURCE, ...home }, switched } });
  const home: FailbackHome = { ...SOURCE, name: 'web', kind: 'original' };
  for (const switched of [null, {}]) {
    const holding = at({}, switched);
    assert.equal(failbackTo(home, far, [far, holding]), holding);
    assert.equal(failbackTo(home, holding, [holding]), null);
  }
  assert.equal(failbackTo(home, far, [at({ vmId: COPY }, null)]), null);
  assert.equal(failbackTo({ ...home, vmId: null }, far, [at({ vmId: null }, null)]), null);
});

it('counts the VM that a failback of another replica has put in the place of the source for good', () => {
  const moved = { sourceHostId: hostId('spare'), sourceVmId: COPY, sourceVmName: 'web-2' };
  const formerSource = { ...SOURCE, name: 'web', leftAt: 0 };
  const near = replica('near', { ...moved, formerSource });
  const successor = { hostId: hostId('spare'), vmId: COPY, name: 'web-2', replicaName: 'near' };
  assert.deepEqual(standInsBeside(far, [far, near]), [successor]);
  const serving = replica('near', { ...moved, formerSource, phase: 'Failover' });
  const standIn = { hostId: hostId('near'), vmId: NEAR_VM, name: 'near', replicaName: 'near' };
  assert.deepEqual(standInsBeside(far, [far, serving]), [successor, standIn]);
  const another = { ...formerSource, vmId: NEAR_VM };
  assert.deepEqual(
    standInsBeside(far, [far, replica('near', { ...moved, formerSource: another })]),
    [],
  );
});
