import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FailbackRecord } from '../failover/failback.ts';
import { hostId } from '../ids.ts';
import { PHASES, type Phase } from '../replica/phase.ts';
import type { Replica } from '../replica/replica.ts';
import { silenceFor } from './silence.ts';

const [A, B, C] = [hostId('host-a'), hostId('host-b'), hostId('host-c')];

function replicaIn(phase: Phase, homeHost: typeof A | null = null): Replica {
  const failback = homeHost === null ? null : { home: { hostId: homeHost } };
  return {
    name: "web's replica",
    sourceHostId: A,
    targetHostId: B,
    phase,
    failback: failback as FailbackRecord | null,
  } as Replica;
}

test('every phase in which a replica is listed has something to say of either host', () => {
  const listed = (Object.keys(PHASES) as Phase[]).filter(
    (phase) => phase !== 'Permanent' && phase !== 'Removed',
  );
  for (const phase of listed) {
    const isHomecoming = phase === 'ReadyToSwitch' || phase === 'Failback';
    const replica = replicaIn(phase, isHomecoming ? A : null);
    assert.equal(silenceFor(replica, A)?.role, isHomecoming ? 'home' : 'source', phase);
    assert.equal(silenceFor(replica, B)?.role, 'target', phase);
    assert.equal(silenceFor(replica, C), null, phase);
  }
});

test('a failback to another host: the old source only matters a little', () => {
  const replica = replicaIn('Failback', C);
  assert.match(silenceFor(replica, C)?.meaning ?? '', /production runs there/);
  assert.match(silenceFor(replica, A)?.meaning ?? '', /production serves at another host/);
});

test('where nobody may serve, the way on is named, as a shell takes it', () => {
  const of = (phase: Phase, host: typeof A, home: typeof A | null = null) =>
    silenceFor(replicaIn(phase, home), host)?.meaning ?? '';
  const name = "'web'\\''s replica'";
  assert.ok(of('Ready', A).includes(`\`understudy failover ${name}\``));
  assert.ok(of('Failover', B).includes(`\`understudy undo-failover ${name} --force\``));
  assert.ok(of('Failback', A, A).includes(`\`understudy undo-failback ${name} --force\``));
});
