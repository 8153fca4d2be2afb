import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../error.ts';
import { replicaId } from '../ids.ts';
import {
  ALLOWED_IN,
  allowedOperations,
  apply,
  PHASES,
  type Phase,
  type PhaseEvent,
  type ReplicaOperation,
  requireAllowed,
  TRANSITIONS,
} from './phase.ts';

const phases = Object.keys(PHASES) as Phase[];
const events = [
  ...new Set(phases.flatMap((phase) => Object.keys(TRANSITIONS[phase]))),
] as PhaseEvent[];
const id = replicaId('rp-1');

/** The contract, written down a second time by hand: from, event, to. */
const CONTRACT: readonly (readonly [Phase, PhaseEvent, Phase])[] = [
  ['Pending', 'point-sealed', 'Ready'],
  ['Pending', 'removed', 'Removed'],
  ['Ready', 'point-sealed', 'Ready'],
  ['Ready', 'failover-started', 'Failover'],
  ['Ready', 'removed', 'Removed'],
  ['Failover', 'branch-moved', 'Failover'],
  ['Failover', 'failover-undone', 'Ready'],
  ['Failover', 'failover-made-permanent', 'Permanent'],
  ['Failover', 'failback-presynced', 'ReadyToSwitch'],
  ['ReadyToSwitch', 'failback-cancelled', 'Failover'],
  ['ReadyToSwitch', 'switched-over', 'Failback'],
  ['Failback', 'failback-committed', 'Ready'],
  ['Failback', 'failback-undone', 'Failover'],
];

test('every pair of phase and event does what the contract says, and every other pair is refused', () => {
  for (const phase of phases) {
    for (const event of events) {
      const row = CONTRACT.find(([from, when]) => from === phase && when === event);
      if (row !== undefined) {
        assert.equal(apply({ id, phase }, event).phase, row[2]);
        continue;
      }
      assert.throws(
        () => apply({ id, phase }, event),
        (error) => error instanceof UnderstudyError && error.code === 'not-allowed-in-phase',
      );
    }
  }
});

test('a transition changes the phase and nothing else', () => {
  fc.assert(
    fc.property(fc.constantFrom(...CONTRACT), fc.anything(), ([from, event, to], rest) => {
      assert.deepEqual(apply({ id, phase: from, rest }, event), { id, phase: to, rest });
    }),
  );
});

test('terminal phases allow nothing, and every operation is allowed somewhere', () => {
  assert.deepEqual(allowedOperations('Permanent'), []);
  assert.deepEqual(allowedOperations('Removed'), []);
  for (const operation of Object.keys(ALLOWED_IN) as ReplicaOperation[]) {
    assert.ok(phases.some((phase) => allowedOperations(phase).includes(operation)));
  }
});

test('replication is allowed in Pending and Ready only (invariant 4)', () => {
  const where = phases.filter((phase) => allowedOperations(phase).includes('replicate'));
  assert.deepEqual(where, ['Pending', 'Ready']);
});

test('a refusal names the phase, the operation and what is allowed instead', () => {
  assert.throws(() => requireAllowed({ id, name: 'web', phase: 'Failover' }, 'replicate'), {
    message:
      'Replica web is in phase Failover, which does not allow job run. ' +
      'Allowed now: undo-failover, permanent-failover, failback, test run, bisect, replica verify, replica rescan, hop, point export, archive keep, archive delete, fence, unfence.',
  });
});
