import assert from 'node:assert/strict';
import { it } from 'node:test';
import { hostId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import type { Phase } from '../replica/phase.ts';
import type { FailoverRecord, Replica } from '../replica/replica.ts';
import { REPLACED_WATCHED_MS, watchedFormer, watchedSource } from './watched-source.ts';

const NOON = instant(Date.UTC(2026, 0, 1, 12));
const LATE = instant(NOON + REPLACED_WATCHED_MS);
const SOURCE = {
  hostId: hostId('a'),
  vmId: vmId('00000000-0000-4000-8000-000000000001'),
  name: 'web',
};
const FORMER = { ...SOURCE, hostId: hostId('old'), name: 'web-old' };

type Story = {
  phase: Phase;
  isConnected?: boolean;
  isDuplicateAccepted?: boolean;
  isMoved?: boolean;
};

function replica({
  phase,
  isConnected = true,
  isDuplicateAccepted = false,
  isMoved = false,
}: Story) {
  const failover = { isConnected, isDuplicateAccepted, startedAt: NOON } as FailoverRecord;
  return {
    phase,
    sourceHostId: SOURCE.hostId,
    sourceVmId: SOURCE.vmId,
    sourceVmName: SOURCE.name,
    failover: phase === 'Pending' || phase === 'Ready' || phase === 'Removed' ? null : failover,
    formerSource: isMoved ? { ...FORMER, leftAt: NOON } : null,
  } as Replica;
}

it('watches the source while its replica serves, connected, and nobody accepted both', () => {
  for (const phase of ['Failover', 'ReadyToSwitch', 'Permanent'] as const) {
    assert.deepEqual(watchedSource(replica({ phase, isMoved: true }), NOON), SOURCE, phase);
    assert.equal(watchedSource(replica({ phase, isConnected: false }), NOON), null);
    const accepted = watchedSource(replica({ phase, isDuplicateAccepted: true }), NOON);
    assert.deepEqual(accepted, phase === 'Permanent' ? SOURCE : null);
  }
});

it('watches the former source where a failback went elsewhere, also when its successor is replaced', () => {
  for (const phase of ['Pending', 'Ready', 'Failover', 'Failback', 'Permanent'] as const) {
    assert.equal(watchedFormer(replica({ phase }), NOON, false), null);
    assert.deepEqual(watchedFormer(replica({ phase, isMoved: true }), NOON, false), FORMER);
    assert.equal(watchedFormer(replica({ phase, isMoved: true }), LATE, false), null);
    assert.deepEqual(watchedFormer(replica({ phase, isMoved: true }), LATE, true), FORMER);
  }
  assert.equal(watchedSource(replica({ phase: 'Ready', isMoved: true }), NOON), null);
  assert.equal(watchedFormer(replica({ phase: 'Removed', isMoved: true }), NOON, true), null);
});

it('watches the source while a failback to another VM awaits its commit', () => {
  const home = { hostId: SOURCE.hostId, vmId: SOURCE.vmId };
  const at = (place: object) =>
    ({ ...replica({ phase: 'Failback' }), failback: { home: { ...home, ...place } } }) as Replica;
  assert.equal(watchedSource(at({}), NOON), null);
  assert.deepEqual(watchedSource(at({ hostId: hostId('b') }), NOON), SOURCE);
});

it('watches nobody otherwise, and what was replaced for good not for ever', () => {
  assert.equal(watchedSource(replica({ phase: 'Removed' }), NOON), null);
  assert.equal(watchedSource(replica({ phase: 'Permanent' }), LATE), null);
  assert.deepEqual(watchedSource(replica({ phase: 'Failover' }), LATE), SOURCE);
});
