import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OPERATION, operationEvent } from '../api/testing/sample-values.ts';
import { STREAM_BEAT_MS } from '../contract/endpoints.ts';
import { errorRecord, UnderstudyError } from '../domain/error.ts';
import { operationId } from '../domain/ids.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import { openServedRoom, type ServedRoom } from './testing/cli-room.ts';

const PROGRESS = {
  operationId: OPERATION.id,
  step: 'copy vda',
  doneBytes: 2 ** 30,
  totalBytes: 2 ** 32,
  bytesPerSecond: 120 * 2 ** 20,
  remainingMs: 25_600,
};

/** Runs the line; once the program follows, plays the scene. */
async function whileFollowing(
  room: ServedRoom,
  line: string,
  scene: () => void | Promise<void>,
  changes: Parameters<ServedRoom['run']>[1] = {},
) {
  const subscribed = room.fake.subscribed();
  const running = room.run(line, changes);
  await subscribed;
  await scene();
  return running;
}

function end(room: ServedRoom, sequence: number, changes: Partial<OperationRecord>): void {
  const operation = { ...OPERATION, ...changes };
  room.fake.put(operation);
  const { state } = operation;
  if (state === 'queued' || state === 'running') throw new Error('not an end');
  room.fake.emit(operationEvent(sequence, state));
}

function failed(error: UnderstudyError): Partial<OperationRecord> {
  return { state: 'failed', error: errorRecord(error) };
}

test('waiting shows steps on stderr and the outcome on stdout', async (t) => {
  const room = await openServedRoom(t);
  const ran = await whileFollowing(room, 'failover r -o json', () => {
    room.fake.emit(operationEvent(1, 'started'));
    room.fake.emit(operationEvent(2, 'step-started', 'branch'));
    room.fake.emit({ ...operationEvent(3, 'note'), message: 'the source is left alone' });
    end(room, 4, { state: 'succeeded', result: { runningAfterMs: 812 } });
  });
  assert.equal(ran.code, 0);
  assert.equal(JSON.parse(ran.out).result.runningAfterMs, 812);
  assert.equal(
    ran.err,
    'Replicate web-01 to recovery: branch\nReplicate web-01 to recovery: the source is left alone\n',
  );
});

test('how the operation ended is the exit code', async (t) => {
  const cases: [Partial<OperationRecord>, number, RegExp][] = [
    [{ state: 'cancelled', error: errorRecord(new UnderstudyError('cancelled')) }, 5, /cancelled/],
    [failed(new UnderstudyError('host-unreachable', { host: 'b' })), 1, /Host b does not/],
    [failed(new UnderstudyError('replica-drifted', { replica: 'r', finding: 'x' })), 3, /--repair/],
    [failed(new UnderstudyError('unexpected', { reason: 'x' })), 70, /unexpected/],
    [{ state: 'succeeded', result: { isSound: true } }, 0, /$/],
    [{ state: 'succeeded', result: { isSound: false } }, 1, /$/],
    [
      { state: 'suspended', error: errorRecord(new UnderstudyError('cancelled')) },
      1,
      /operation retry op-a1/,
    ],
  ];
  for (const [changes, code, says] of cases) {
    const room = await openServedRoom(t);
    const ran = await whileFollowing(room, 'replica verify r', () => end(room, 1, changes));
    assert.equal(ran.code, code);
    assert.match(ran.err, says);
  }
});

test('what went wrong is said where it happened, not again on the way back', async (t) => {
  const room = await openServedRoom(t);
  const error = new UnderstudyError('host-unreachable', { host: 'b' });
  const { message } = error;
  const ran = await whileFollowing(room, 'replica verify r', () => {
    room.fake.emit({ ...operationEvent(1, 'step-failed', 'move'), message });
    room.fake.emit({ ...operationEvent(2, 'compensating'), message });
    room.fake.emit(operationEvent(3, 'step-undone', 'move'));
    end(room, 4, failed(error));
  });
  const title = 'Replicate web-01 to recovery';
  assert.equal(
    ran.err,
    `${title}: step-failed move: ${message}\n${title}: compensating\n${title}: step-undone move\n` +
      `${title}: failed\n${title} is failed: ${message}\n`,
  );
});

test('of several operations that fail alike each says why', async (t) => {
  const room = await openServedRoom(t);
  const both = ['op-a1', 'op-a2'].map((id) => ({ ...OPERATION, id: operationId(id), title: id }));
  for (const operation of both) room.fake.put(operation);
  room.fake.answers.runJob = both;
  const { message } = new UnderstudyError('host-unreachable', { host: 'b' });
  const heard = heardError();
  const scene = async () => {
    for (const operation of both) {
      const { id: of } = operation;
      room.fake.emit({ ...operationEvent(1, 'step-failed', 'freeze'), operationId: of, message });
      await heard.says(`${of}: step-failed freeze: ${message}\n`);
    }
    for (const operation of both) {
      room.fake.put({ ...operation, ...failed(new UnderstudyError('host-unreachable')) });
      room.fake.emit({ ...operationEvent(2, 'failed'), operationId: operation.id });
    }
  };
  const ran = await whileFollowing(room, 'job run web', scene, { stderr: heard.stderr });
  assert.equal(ran.code, 1);
});

test('a rescan that leaves a difference is exit code 1 and tells it, also of all replicas', async (t) => {
  const room = await openServedRoom(t);
  const finding = {
    object: 'layers/l-1',
    message: 'it is gone.',
    repair: 'none',
    pointIds: ['pt-a'],
  };
  const result = { findings: [finding], left: [finding], isRepaired: false };
  for (const line of ['replica rescan r', 'rescan']) {
    const ran = await whileFollowing(room, line, () =>
      end(room, 1, { kind: 'rescan', state: 'succeeded', result }),
    );
    assert.equal(ran.code, 1, line);
    assert.match(ran.out, /layers\/l-1: it is gone; in doubt: pt-a; repair: none/);
  }
});

/** A standard error that a test can wait at until it says something. */
function heardError(isTerminal = false) {
  let text = '';
  let news = Promise.withResolvers<void>();
  return {
    stderr: {
      isTerminal,
      columns: 120,
      write: (more: string) => {
        text += more;
        news.resolve();
        news = Promise.withResolvers();
      },
    },
    text: () => text,
    says: async (words: string) => {
      while (!text.includes(words)) await news.promise;
    },
  };
}

function queueFor(room: ServedRoom, message: string): void {
  room.fake.put({ ...OPERATION, state: 'queued' });
  const wait = { message, limit: 1, taken: 1, hostId: null, heldBy: [] };
  room.fake.answers.waits = new Map([[OPERATION.id, message === '' ? [] : [wait]]]);
}

/** Queued for one thing, then for another, then for nothing, then under way. */
async function playQueue(room: ServedRoom, heard: ReturnType<typeof heardError>): Promise<void> {
  await heard.says('for replicate op-b1');
  await room.clock.advance(STREAM_BEAT_MS);
  queueFor(room, 'replicate op-b2');
  await room.clock.advance(STREAM_BEAT_MS);
  await heard.says('for replicate op-b2');
  queueFor(room, '');
  await room.clock.advance(STREAM_BEAT_MS);
  room.fake.put({ ...OPERATION, state: 'running' });
  room.fake.emit(operationEvent(1, 'started'));
  end(room, 2, { state: 'succeeded', result: null });
}

test('every command that waits tells what a queued operation waits for, and when it begins', async (t) => {
  const title = OPERATION.title;
  const said =
    `${title}: waits for replicate op-b1\n${title}: waits for replicate op-b2\n` +
    `${title}: begins\n`;
  for (const isTerminal of [false, true]) {
    for (const line of ['job run web -o json', 'failover r -o json', 'operation retry op-a1']) {
      const room = await openServedRoom(t);
      queueFor(room, 'replicate op-b1');
      const heard = heardError(isTerminal);
      const ran = await whileFollowing(room, line, () => playQueue(room, heard), {
        stderr: heard.stderr,
      });
      assert.equal(ran.code, 0);
      assert.equal(heard.text(), said, line);
      if (line.endsWith('json')) JSON.parse(ran.out);
    }
  }
});

test('whoever follows is told, too, and standard output stays for events alone', async (t) => {
  const room = await openServedRoom(t);
  queueFor(room, 'replicate op-b1');
  const heard = heardError();
  const follow = 'operation follow op-a1 -o ndjson';
  const ran = await whileFollowing(room, follow, () => playQueue(room, heard), {
    stderr: heard.stderr,
  });
  assert.equal(ran.code, 0);
  assert.equal(heard.text(), 'Waits for replicate op-b1.\nWaits for replicate op-b2.\nBegins.\n');
  const sequences = ran.out.trimEnd().split('\n');
  assert.deepEqual(
    sequences.map((line) => JSON.parse(line).sequence),
    [1, 2],
  );
});

test('what an operation waits for is told once, also when the connection was cut meanwhile', async (t) => {
  const room = await openServedRoom(t);
  queueFor(room, 'replicate op-b1');
  const heard = heardError();
  const scene = async () => {
    await heard.says('for replicate op-b1');
    const again = room.fake.subscribed();
    room.api.server.server.closeAllConnections();
    await again;
    end(room, 1, { state: 'cancelled' });
  };
  await whileFollowing(room, 'job run web', scene, { stderr: heard.stderr });
  assert.equal(heard.text().split('waits for').length, 2, heard.text());
  assert.doesNotMatch(heard.text(), /begins/);
});

test('a job of several VMs tells of each what it waits for', async (t) => {
  const room = await openServedRoom(t);
  const others = ['op-a1', 'op-a2'].map((id) => ({ ...OPERATION, id: operationId(id), title: id }));
  for (const operation of others) room.fake.put({ ...operation, state: 'queued' });
  room.fake.answers.runJob = others;
  const wait = { message: 'the same', limit: 1, taken: 1, hostId: null, heldBy: [] };
  room.fake.answers.waits = new Map(others.map(({ id }) => [id, [wait]]));
  const heard = heardError();
  const scene = async () => {
    for (const { id } of others) await heard.says(`${id}: waits for the same\n`);
    for (const operation of others) {
      room.fake.put({ ...operation, state: 'succeeded', result: null });
      room.fake.emit({ ...operationEvent(1, 'succeeded'), operationId: operation.id });
    }
  };
  const ran = await whileFollowing(room, 'job run web', scene, { stderr: heard.stderr });
  assert.equal(ran.code, 0);
});

test('--no-wait returns at once and says how to follow', async (t) => {
  const { run } = await openServedRoom(t);
  const { code, out, err } = await run('failover r --no-wait');
  assert.equal(code, 0);
  assert.match(out, /State: +running/);
  assert.equal(err, 'Follow it with: understudy operation follow op-a1\n');
});

test('Ctrl-C stops waiting, leaves the operation alone and says how to go on', async (t) => {
  const room = await openServedRoom(t);
  const interrupt = new AbortController();
  const ran = await whileFollowing(room, 'job run web', () => interrupt.abort(), {
    interrupt: interrupt.signal,
  });
  assert.equal(ran.code, 130);
  assert.match(
    ran.err,
    /operation op-a1 goes on\. Follow it with `understudy operation follow op-a1`/,
  );
  assert.ok(!room.fake.calls.some(([verb]) => verb === 'cancelOperation'));
});

test('a cut stream is taken up where it was', async (t) => {
  const room = await openServedRoom(t);
  let pauses = 0;
  const follow = 'operation follow op-a1 -o ndjson';
  const ran = await whileFollowing(
    room,
    follow,
    async () => {
      room.fake.emit(operationEvent(1, 'started'));
      const again = room.fake.subscribed();
      room.api.server.server.closeAllConnections();
      await again;
      room.fake.emit(operationEvent(2, 'step-started', 'freeze'));
      end(room, 3, { state: 'succeeded' });
    },
    {
      sleep: async () => {
        pauses += 1;
      },
    },
  );
  assert.equal(ran.code, 0, ran.err);
  const sequences = ran.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).sequence);
  assert.deepEqual(sequences, [1, 2, 3]);
  assert.equal(pauses, 1);
});

test('a server that stays away: exit code 69, and the operation is not given up', async (t) => {
  const room = await openServedRoom(t);
  const ran = await whileFollowing(room, 'failover r', () => room.api.close());
  assert.equal(ran.code, 69);
  assert.match(ran.err, /op-a1 was accepted and continues as soon as its server runs/);
});

test('follow writes the history to stdout, escaped', async (t) => {
  const room = await openServedRoom(t);
  room.fake.emit({ ...operationEvent(1, 'note'), message: 'VM \u001b]0;x\u0007' });
  const ran = await whileFollowing(room, 'operation follow op-a1', () =>
    end(room, 2, { state: 'succeeded' }),
  );
  assert.equal(ran.code, 0);
  const said = [
    '2026-03-01T12:00:00.001Z op-a1 replicate rep-a1  note: VM \\x1b]0;x\\x07',
    '2026-03-01T12:00:00.002Z op-a1 replicate rep-a1  succeeded',
  ];
  assert.deepEqual(ran.out.trimEnd().split('\n'), said);
});

test('cancelling that succeeds is exit code 0', async (t) => {
  const room = await openServedRoom(t);
  const ran = await whileFollowing(room, 'operation cancel op-a1', () =>
    end(room, 1, { state: 'cancelled' }),
  );
  assert.equal(ran.code, 0);
});

test('on a terminal the bar is redrawn in place and gone at the end', async (t) => {
  const room = await openServedRoom(t);
  let err = '';
  const columns = 90;
  let now = 0;
  const stderr = {
    isTerminal: true,
    columns,
    write: (text: string) => {
      err += text;
    },
  };
  await whileFollowing(
    room,
    'job run web',
    () => {
      room.fake.progress(PROGRESS);
      end(room, 1, { state: 'succeeded' });
    },
    { stderr, now: () => (now += 1000) },
  );
  const clear = '\r\u001b[2K';
  const bar =
    'Replicate web-01 to recovery  [#####---------------]   25%  1.00 GiB of 4.00 GiB  120 MiB/s  26s left  copy vda';
  assert.equal(err, `${clear}${bar.slice(0, columns - 1)}${clear}`);
});

test('elsewhere progress is at most one line per five seconds', async (t) => {
  const room = await openServedRoom(t);
  let now = 0;
  const ran = await whileFollowing(
    room,
    'job run web',
    () => {
      for (let count = 0; count < 12; count += 1) room.fake.progress(PROGRESS);
      end(room, 1, { state: 'succeeded' });
    },
    { now: () => (now += 500) },
  );
  const lines = ran.err.trimEnd().split('\n');
  assert.equal(lines.length, 2);
  assert.match(lines[0] ?? '', /^Replicate web-01 to recovery {3}25% {2}1\.00 GiB of 4\.00 GiB/);
});
