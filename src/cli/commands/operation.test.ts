import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OPERATION, operationEvent } from '../../api/testing/sample-values.ts';
import { errorRecord, UnderstudyError } from '../../domain/error.ts';
import { openServedRoom } from '../testing/cli-room.ts';

const ERROR = new UnderstudyError('host-unreachable', { host: 'b' });

test('one that is suspended says what a person can do', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'suspended', error: errorRecord(ERROR) });
  const { out } = await run('operation show op-a1');
  assert.match(out, /Error: +Host b does not answer/);
  assert.match(
    out,
    /Next: .*`understudy operation retry op-a1`.*`understudy operation cancel op-a1`/,
  );
});

test('one that is tried again no longer tells why it was suspended', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'queued', error: errorRecord(ERROR) });
  for (const line of ['operation show op-a1', 'operation list']) {
    const { out } = await run(line);
    assert.match(out, /queued/);
    assert.doesNotMatch(out, /Host b|Next/);
  }
});

test('a retry tells what happens from now on, not the failure before it', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'queued', error: errorRecord(ERROR) });
  fake.emit({ ...operationEvent(1, 'step-failed', 'start-replica'), message: ERROR.message });
  fake.emit(operationEvent(2, 'suspended'));
  const subscribed = fake.subscribed();
  const running = run('operation retry op-a1');
  await subscribed;
  fake.emit(operationEvent(3, 'resumed'));
  fake.put({ ...OPERATION, state: 'succeeded', error: null });
  fake.emit(operationEvent(4, 'succeeded'));
  const { code, err } = await running;
  assert.equal(code, 0);
  assert.equal(err, `${OPERATION.title}: resumed\n`);
});
