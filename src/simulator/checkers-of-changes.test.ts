import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operationId, operationKey, pointId, vmId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import { EMPTY_VIEW } from './checkers.ts';
import { marksForgetNothing } from './checkers-of-changes.ts';
import { createTwoHosts, PRODUCTION, RECOVERY, REPLICA, ROOT } from './two-hosts.ts';

const SINCE = { id: pointId('pt-2'), takenAt: instant(1000) };

/** What is told of production, whose block 1 is another one than at the instant of its mark, which knows of no write. */
function told({ isUndecided, isDamaged }: Record<'isUndecided' | 'isDamaged', boolean>): string {
  const { world, vm } = createTwoHosts();
  const { sizeBytes, blocks, marks } = vm.image(ROOT);
  marks.set(`us-${SINCE.id}`, { isOurs: true, dirty: new Set() });
  const content = new Map([...blocks, [1, 'damage']] as const);
  const damaged = new Set(isDamaged ? [1] : []);
  world.instants.push({
    hostId: RECOVERY,
    vmId: vmId('00000000-0000-4000-8000-000000000001'),
    key: operationKey(operationId('op-test'), 'freeze'),
    takenAt: SINCE.takenAt,
    powerLosses: 0,
    disks: new Map([[ROOT, { sizeBytes, content, damaged }]]),
    images: new Map(),
  });
  const switched = { pointId: SINCE.id, takenAt: SINCE.takenAt };
  const home = { hostId: PRODUCTION, vmId: vm.id };
  const replica = {
    id: REPLICA,
    phase: isUndecided ? 'Failback' : 'Ready',
    sourceHostId: PRODUCTION,
    sourceVmId: vm.id,
    failback: isUndecided ? { home, switched } : null,
  } as Replica;
  const points = new Map([[REPLICA, [SINCE as RestorePoint]]]);
  return marksForgetNothing(world, { ...EMPTY_VIEW, replicas: [replica], points }).join();
}

test('a mark that forgot a write is told', () => {
  for (const isUndecided of [true, false]) {
    assert.match(told({ isUndecided, isDamaged: false }), /forgot a write: block 1 is boot-1/);
  }
});

test('a failback does not bring damage home, and a restore point that was made of it is told', () => {
  assert.equal(told({ isUndecided: true, isDamaged: true }), '');
  assert.match(told({ isUndecided: false, isDamaged: true }), /forgot a write/);
});
