import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REPLICA_VIEW } from '../../api/testing/fake-controller.ts';
import { OPERATION } from '../../api/testing/sample-values.ts';
import { openServedRoom } from '../testing/cli-room.ts';

test('an operation that waits for a person does not look like one that works', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const { title, kind } = OPERATION;
  const cases = [
    ['running', kind, `${title} (op-a1)`],
    ['queued', `${kind} (queued)`, `${title} (op-a1), queued`],
    [
      'suspended',
      `${kind} (suspended)`,
      `${title} (op-a1), suspended: see \`understudy operation show op-a1\``,
    ],
  ] as const;
  for (const [state, now, line] of cases) {
    const view = { ...REPLICA_VIEW, openOperation: { ...OPERATION, state } };
    fake.answers.replica = view;
    fake.answers.replicas = [view];
    const listed = await run('replica list');
    assert.ok(listed.out.includes(`  ${now}  `), listed.out);
    const shown = await run('replica show r');
    assert.equal(/^Operation: +(.*)$/m.exec(shown.out)?.[1], line);
  }
});

test('a replica says what its queued operation and tests wait for', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const queued = { ...OPERATION, state: 'queued' } as const;
  const message = 'failover op-b1: one operation at a time takes the place of a VM';
  const wait = { message, limit: 1, taken: 1, hostId: null, heldBy: [OPERATION] };
  fake.answers.replica = { ...REPLICA_VIEW, openOperation: queued, openTests: [queued] };
  fake.answers.waits = new Map([[OPERATION.id, [wait]]]);
  const { out } = await run('replica show r');
  const line = `${OPERATION.title} (op-a1), queued, waits for ${message}`;
  assert.equal(/^Operation: +(.*)$/m.exec(out)?.[1], line);
  assert.ok(out.includes(`queued: ${OPERATION.title} (op-a1), waits for ${message}`), out);
});
