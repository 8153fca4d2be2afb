/** The suite of the port, and what only this engine promises. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { named } from '../../conformance/durable/story.ts';
import { durableSuite } from '../../conformance/durable.ts';
import { instant } from '../../domain/instant.ts';
import type { OperationDefinition, OperationRequest } from '../../ports/durable.ts';
import { createSqliteDurable } from './engine.ts';
import { createSqliteHarness } from './testing/harness.ts';

durableSuite('embedded, SQLite', async () => createSqliteHarness());

const signal = new AbortController().signal;

function request(name: string): OperationRequest {
  const claims = { exclusive: [`claim:${name}`], slots: [] };
  return { id: named(name), kind: 'replicate', subject: name, title: name, input: null, claims };
}

function nothingToDo(run: OperationDefinition['run'] = async () => null): OperationDefinition {
  return { kind: 'replicate', run };
}

test('no more than the limit run at once, and all run', async () => {
  await using harness = createSqliteHarness();
  const engine = await harness.open({ runningMax: 3 });
  let running = 0;
  let peak = 0;
  engine.register(
    nothingToDo(async (context) => {
      running += 1;
      peak = Math.max(peak, running);
      await context.step('a', { do: async () => null, undo: 'nothing' });
      await context.step('b', { do: async () => null, undo: 'nothing' });
      running -= 1;
      return null;
    }),
  );
  const names = Array.from({ length: 300 }, (_, n) => `n${n}`);
  await Promise.all(names.map((name) => engine.start(request(name))));
  await Promise.all(names.map((name) => engine.settled(named(name), { signal })));
  assert.equal(peak, 3);
  await engine.close();
});

test('prune forgets old ended operations with their history, but the newest', async () => {
  await using harness = createSqliteHarness();
  const engine = await harness.open();
  engine.register(nothingToDo());
  for (const name of ['a', 'b', 'c', 'd']) {
    await engine.start(request(name));
    await engine.settled(named(name), { signal });
    await harness.clock.advance(1000);
  }
  const { clock } = harness;
  assert.equal(await engine.prune({ endedBefore: clock.now(), keep: 2 }), 2);
  assert.equal(await engine.prune({ endedBefore: instant(clock.now() - 1500), keep: 0 }), 1);
  const left = await engine.operations({ limit: 9 });
  assert.deepEqual(
    left.map(({ id }) => id),
    ['op-d'],
  );
  assert.deepEqual(await engine.history(named('a'), 0), []);
  const events = harness.database().prepare('SELECT count(*) AS n FROM event').get();
  assert.equal(events?.n, 3);
  await engine.close();
});

test('an unfinished operation of an unknown kind stops the resumption', async () => {
  await using harness = createSqliteHarness();
  const first = await harness.open();
  first.register(nothingToDo((context) => context.receive('m', 't', 1e9)));
  await first.start(request('a'));
  await harness.clock.whenSleeping(1);
  await first.close();
  const second = await harness.open();
  await assert.rejects(second.resume(), { code: 'unexpected' });
  await assert.rejects(second.start(request('b')), { code: 'unexpected' });
  await second.close();
});

test('a journal that cannot be written stops the engine and says so', async () => {
  await using harness = createSqliteHarness();
  await harness.open();
  const faults: unknown[] = [];
  const engine = createSqliteDurable({
    database: harness.database(),
    applyChanges: () => {},
    clock: harness.clock,
    ids: { fresh: (prefix) => `${prefix}-1`, uuid: () => '' },
    onFault: (error) => faults.push(error),
  });
  engine.register(nothingToDo((context) => context.receive('m', 't', 1e9)));
  await engine.start(request('a'));
  await harness.clock.whenSleeping(1);
  const settled = assert.rejects(engine.settled(named('a'), { signal }), { code: 'shutting-down' });
  harness.database().close();
  await assert.rejects(engine.start(request('c')));
  assert.equal(faults.length, 1);
  await settled;
  await assert.rejects(engine.cancel(named('a')));
  await engine.close();
});

test('a result that is no JSON fails the operation instead of the engine', async () => {
  await using harness = createSqliteHarness();
  const engine = await harness.open();
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  engine.register(nothingToDo(async () => cyclic as never));
  await engine.start(request('a'));
  assert.equal((await engine.settled(named('a'), { signal })).state, 'failed');
  await engine.close();
});

test('events of one operation are numbered without gaps, whatever runs beside it', async () => {
  await using harness = createSqliteHarness();
  const engine = await harness.open();
  const heard: string[] = [];
  const early: string[] = [];
  engine.subscribe({
    onEvent(event) {
      heard.push(`${event.operationId} ${event.sequence}`);
      if (harness.database().isTransaction) early.push(event.type);
    },
  });
  engine.register(
    nothingToDo(async (context) => {
      const step = { do: async () => null, undo: 'nothing' } as const;
      await Promise.all(['a', 'b', 'c'].map((name) => context.step(name, step)));
      return null;
    }),
  );
  const names = Array.from({ length: 20 }, (_, n) => `n${n}`);
  await Promise.all(names.map((name) => engine.start(request(name))));
  await Promise.all(names.map((name) => engine.settled(named(name), { signal })));
  assert.deepEqual(early, [], 'nobody hears of what is not committed');
  for (const name of names) {
    const own = heard.filter((line) => line.startsWith(`op-${name} `));
    assert.deepEqual(
      own,
      Array.from({ length: 9 }, (_, n) => `op-${name} ${n + 1}`),
    );
  }
  await engine.close();
});
