import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HOST, OPERATION, operationEvent } from '../../api/testing/sample-values.ts';
import { errorRecord, UnderstudyError } from '../../domain/error.ts';
import { operationId } from '../../domain/ids.ts';
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

test('whoever answers an operation is not asked again what they have answered', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'running' });
  fake.emit({ ...operationEvent(1, 'note', 'ask-1'), message: 'Answer with wait|power-off.' });
  const subscribed = fake.subscribed();
  const running = run('operation answer op-a1 wait');
  await subscribed;
  fake.put({ ...OPERATION, state: 'succeeded' });
  fake.emit(operationEvent(2, 'succeeded'));
  const { code, err } = await running;
  assert.equal(code, 0);
  assert.doesNotMatch(err, /Answer with/);
});

const MESSAGE = 'a place on host recovery, where 2 of 2 for transfers are taken: replicate op-b1';
const WAITS = new Map([
  [
    OPERATION.id,
    [
      {
        message: MESSAGE,
        limit: 2,
        taken: 2,
        hostId: HOST.id,
        heldBy: [{ ...OPERATION, id: operationId('op-b1') }],
      },
    ],
  ],
]);

test('one that is queued says what it waits for, wherever it is looked at', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'queued' });
  fake.answers.waits = WAITS;
  const shown = await run('operation show op-a1');
  assert.equal(/^Waits for: +(.*)$/m.exec(shown.out)?.[1], MESSAGE);
  const listed = await run('operation list');
  assert.match(listed.out, /WAITS FOR/);
  assert.ok(listed.out.includes(MESSAGE), listed.out);
  const json = await run('operation show op-a1 -o json');
  const [wait] = JSON.parse(json.out).waitsFor;
  const { id, kind, title, state } = { ...OPERATION, id: 'op-b1' };
  assert.deepEqual(wait.heldBy, [{ id, kind, title, state }]);
  assert.equal(wait.hostId, HOST.id);
});

test('whoever follows one that is queued is told at once what it waits for', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put({ ...OPERATION, state: 'queued' });
  fake.answers.waits = WAITS;
  const subscribed = fake.subscribed();
  const running = run('operation follow op-a1');
  await subscribed;
  fake.put({ ...OPERATION, state: 'succeeded' });
  fake.emit(operationEvent(1, 'succeeded'));
  const { code, err } = await running;
  assert.equal(code, 0);
  assert.ok(err.includes(`Waits for ${MESSAGE}.`), err);
});

test('without anybody who waits the list has no column for it', async (t) => {
  const { run } = await openServedRoom(t);
  assert.doesNotMatch((await run('operation list')).out, /WAITS FOR/);
});
