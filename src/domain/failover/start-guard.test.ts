import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { branchId, hostId, operationId, pointId, replicaId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import { PHASES, type Phase } from '../replica/phase.ts';
import type { FailoverRecord, Replica } from '../replica/replica.ts';
import type { FailbackRecord } from './failback.ts';
import { type HeldVm, heldChanges, heldSource } from './start-guard.ts';

const A = hostId('a');
const B = hostId('b');
const VMS = [1, 2, 3].map((n) => vmId(`00000000-0000-4000-8000-00000000000${n}`));
const [WEB, OTHER] = [VMS[0] ?? vmId(''), VMS[1] ?? vmId('')];
const NOON = instant(Date.UTC(2026, 2, 1, 12));
const idle = () => false;

const FAILOVER: FailoverRecord = {
  pointId: pointId('pt-1'),
  branchId: branchId('br-1'),
  overBranchId: null,
  operationId: operationId('op-1'),
  reason: '',
  fence: 'none',
  fencedNics: [],
  isDuplicateAccepted: false,
  isSourceReleased: false,
  startedAt: NOON,
  isConnected: true,
  connectionBecause: '',
  runningAfterMs: null,
  answeringAfterMs: null,
  answeredBy: null,
};

function replica(wishes: Partial<Replica> = {}): Replica {
  return {
    id: replicaId('rp-1'),
    jobId: null,
    sourceHostId: A,
    sourceVmId: WEB,
    sourceVmName: 'web',
    targetHostId: B,
    name: 'web-replica',
    targetVmId: WEB,
    phase: 'Failover',
    epoch: 3,
    newestPointId: pointId('pt-1'),
    seed: null,
    failover: FAILOVER,
    failback: null,
    formerSource: null,
    leftFencedNics: [],
    archives: [],
    createdAt: NOON,
    ...wishes,
  };
}

const at = (hostIdOf: typeof A, id: typeof WEB | null) =>
  ({ home: { hostId: hostIdOf, vmId: id, name: 'x', kind: 'copy' } }) as unknown as FailbackRecord;

test('a source is held while its replica serves, connected, and nobody let it go', () => {
  const cases: [Partial<Replica>, boolean][] = [
    [{ phase: 'Failover' }, true],
    [{ phase: 'ReadyToSwitch', failback: at(A, WEB) }, true],
    [{ phase: 'Failover', failover: { ...FAILOVER, isConnected: false } }, false],
    [{ phase: 'Failover', failover: { ...FAILOVER, isDuplicateAccepted: true } }, false],
    [{ phase: 'Failover', failover: { ...FAILOVER, isSourceReleased: true } }, false],
    [{ phase: 'Failback', failback: at(A, WEB) }, false],
    [{ phase: 'Failback', failback: at(B, WEB) }, true],
    [{ phase: 'Failback', failback: at(A, OTHER) }, true],
    [{ phase: 'Permanent' }, true],
    [{ phase: 'Permanent', failover: { ...FAILOVER, isConnected: false } }, true],
    [{ phase: 'Permanent', failover: { ...FAILOVER, isSourceReleased: true } }, false],
    [{ phase: 'Ready', failover: null }, false],
    [{ phase: 'Pending', failover: null }, false],
    [{ phase: 'Removed', failover: null }, false],
  ];
  for (const [wishes, isHeld] of cases) {
    const held = heldSource(replica(wishes));
    assert.equal(held !== null, isHeld, JSON.stringify(wishes));
    if (held !== null) assert.deepEqual([held.vmId, held.epoch, held.since], [WEB, 3, NOON]);
  }
  assert.deepEqual(new Set(cases.map(([{ phase }]) => phase)), new Set(Object.keys(PHASES)));
});

test('the reason is one line that names the way back by ids, whatever the VM is called', () => {
  const hostile = { sourceVmName: 'web\n01\u0000', name: 'r; rm -rf /\n' };
  for (const phase of ['Failover', 'Permanent'] as const) {
    const { reason } = heldSource(replica({ ...hostile, phase })) ?? { reason: '' };
    assert.doesNotMatch(reason, /\p{Cc}/u);
    assert.ok(reason.endsWith(`\`understudy guard lift a ${WEB}\``), reason);
    assert.equal(reason.includes('`understudy undo-failover rp-1`'), phase === 'Failover', reason);
  }
});

test('what another controller holds, or a failback left behind, is not let go', () => {
  const serving = heldSource(replica());
  assert.ok(serving);
  const ready = replica({ phase: 'Ready', failover: null, epoch: 4 });
  const stranger = { ...serving, replicaId: replicaId('rp-9') };
  const leftBehind = { ...serving, vmId: OTHER };
  const newer = { ...serving, epoch: 5 };
  const changes = (held: readonly HeldVm[]) => heldChanges(A, held, [ready], idle);
  assert.deepEqual(changes([serving]), { hold: [], release: [serving] });
  assert.deepEqual(changes([stranger, leftBehind]), { hold: [], release: [] });
  assert.deepEqual(changes([newer]), { hold: [], release: [] });
  assert.deepEqual(
    heldChanges(A, [serving], [ready], () => true),
    { hold: [], release: [] },
  );
});

test('a VM that is a replica itself by now may start', () => {
  const permanent = replica({ phase: 'Permanent' });
  const back = { id: replicaId('rp-2'), sourceHostId: B, targetHostId: A, failover: null };
  const turned = replica({ ...back, phase: 'Ready' });
  const serving = heldSource(permanent);
  assert.ok(serving);
  assert.deepEqual(heldChanges(A, [serving], [permanent, turned], idle).release, [serving]);
  assert.deepEqual(heldChanges(A, [], [permanent, turned], idle).hold, []);
  assert.deepEqual(heldChanges(A, [], [permanent], idle).hold, [serving]);
});

test('carried out, the changes leave nothing to change, and never touch what is newer', () => {
  const phase = fc.constantFrom(...(Object.keys(PHASES) as Phase[]));
  const some = fc.record({
    phase,
    sourceVmId: fc.constantFrom(...VMS),
    sourceHostId: fc.constantFrom(A, B),
    epoch: fc.integer({ min: 1, max: 4 }),
    isConnected: fc.boolean(),
  });
  const present = fc.record({
    number: fc.integer({ min: 0, max: 5 }),
    vmId: fc.constantFrom(...VMS),
    epoch: fc.integer({ min: 0, max: 5 }),
  });
  const isServing = (of: Phase) => of !== 'Ready' && of !== 'Pending' && of !== 'Removed';
  fc.assert(
    fc.property(fc.array(some), fc.array(present), (wishes, there) => {
      const replicas = wishes.map(({ isConnected, ...wish }, index) =>
        replica({
          ...wish,
          id: replicaId(`rp-${index}`),
          targetVmId: null,
          failover: isServing(wish.phase) ? { ...FAILOVER, isConnected } : null,
        }),
      );
      const held = new Map<string, HeldVm>();
      for (const { number, vmId: id, epoch } of there) {
        const one = {
          vmId: id,
          replicaId: replicaId(`rp-${number}`),
          epoch,
          since: NOON,
          reason: '',
        };
        held.set(`${one.vmId}.${one.replicaId}`, one);
      }
      const { hold, release } = heldChanges(A, [...held.values()], replicas, idle);
      for (const one of [...release, ...hold]) {
        const name = `${one.vmId}.${one.replicaId}`;
        const owner = replicas.find(({ id }) => id === one.replicaId);
        assert.equal(owner?.sourceHostId, A);
        assert.ok((held.get(name)?.epoch ?? 0) <= owner.epoch);
        if (release.includes(one)) held.delete(name);
        else held.set(name, one);
      }
      const again = heldChanges(A, [...held.values()], replicas, idle);
      assert.deepEqual(again, { hold: [], release: [] });
    }),
  );
});
