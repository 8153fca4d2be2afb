import assert from 'node:assert/strict';
import type { OperationEvent, OperationProgress } from '../../domain/operation/operation.ts';
import { type DurableTest, gate, gated, marking, named, storyTest } from './story.ts';

const signal = new AbortController().signal;

export function requestTests(suite: DurableTest): void {
  storyTest(suite, 'an operation runs its steps in order and answers its result', async (story) => {
    story.define(async (context, input) => {
      const a = await context.step('a', marking(story, 'a'));
      const b = await context.step('b', marking(story, 'b'));
      return { a, b, input };
    });
    const accepted = await story.start('one', { input: { n: 1 } });
    assert.equal(accepted.state, 'queued');
    assert.equal(accepted.startedAt, null);
    const record = await story.settled('one');
    assert.equal(record.state, 'succeeded');
    assert.deepEqual(record.result, { a: 'a', b: 'b', input: { n: 1 } });
    assert.equal(record.error, null);
    assert.equal(record.createdAt, story.harness.clock.now());
    assert.equal(record.endedAt, story.harness.clock.now());
    assert.deepEqual(await story.history('one'), [
      'queued',
      'started',
      'step-started a',
      'step-succeeded a',
      'step-started b',
      'step-succeeded b',
      'succeeded',
    ]);
  });

  storyTest(suite, 'starting a known id answers the existing record', async (story) => {
    story.define((context) => context.step('a', marking(story, 'a')));
    await Promise.all([story.start('one'), story.start('one', { subject: 'other' })]);
    await story.settled('one');
    const again = await story.start('one', { claims: { exclusive: ['x'] } });
    assert.equal(again.state, 'succeeded');
    assert.equal(again.subject, 'rp-1');
    assert.deepEqual(story.world, ['do a']);
  });

  storyTest(
    suite,
    'operations are listed newest first, by subject, kind, openness and a flag of their input',
    async (story) => {
      const waiting = gate();
      story.define(async () => null);
      story.define((context) => context.step('a', gated(story, 'a', waiting)), 'failover');
      await story.start('one');
      await story.settled('one');
      await story.start('two', { subject: 'rp-2', input: { byClock: true, n: 1 } });
      await story.settled('two');
      await story.start('three', { kind: 'failover', input: { byClock: false } });
      await waiting.reached.promise;
      const engine = story.engine();
      const list = async (filter: Parameters<typeof engine.operations>[0]) =>
        (await engine.operations(filter)).map(({ id }) => id);
      assert.deepEqual(await list({ limit: 9 }), ['op-three', 'op-two', 'op-one']);
      assert.deepEqual(await list({ limit: 2 }), ['op-three', 'op-two']);
      assert.deepEqual(await list({ limit: 9, subject: 'rp-1' }), ['op-three', 'op-one']);
      assert.deepEqual(await list({ limit: 9, kind: 'replicate' }), ['op-two', 'op-one']);
      assert.deepEqual(await list({ limit: 9, open: true }), ['op-three']);
      assert.deepEqual(await list({ limit: 9, inputFlag: 'byClock' }), ['op-two']);
      assert.deepEqual(await list({ limit: 9, inputFlag: 'n' }), []);
      assert.deepEqual(await list({ limit: 9, subject: 'rp-1', inputFlag: 'byClock' }), []);
      assert.equal(await engine.operation(named('nobody')), null);
      waiting.opened.resolve();
      await story.settled('three');
    },
  );

  storyTest(suite, 'history answers events after a sequence', async (story) => {
    story.define(async (context) => {
      await context.note('n', 'hello');
      return null;
    });
    await story.start('one');
    await story.settled('one');
    const all = await story.engine().history(named('one'), 0);
    assert.deepEqual(
      all.map(({ sequence }) => sequence),
      [1, 2, 3, 4],
    );
    assert.deepEqual(await story.engine().history(named('one'), 2), all.slice(2));
    assert.equal(all[2]?.message, 'hello');
  });

  storyTest(suite, 'what names an unknown operation is refused', async (story) => {
    const engine = story.engine();
    const missing = { code: 'operation-missing' };
    await assert.rejects(engine.settled(named('nobody'), { signal }), missing);
    await assert.rejects(engine.send(named('nobody'), 't', 1), missing);
    await assert.rejects(engine.cancel(named('nobody')), missing);
    await assert.rejects(engine.retry(named('nobody')), missing);
  });

  storyTest(suite, 'settled ends with its signal', async (story) => {
    const waiting = gate();
    story.define((context) => context.step('a', gated(story, 'a', waiting)));
    await story.start('one');
    const controller = new AbortController();
    const settled = story.engine().settled(named('one'), { signal: controller.signal });
    await waiting.reached.promise;
    controller.abort();
    await assert.rejects(settled, { code: 'cancelled' });
    waiting.opened.resolve();
    assert.equal((await story.settled('one')).state, 'succeeded');
  });

  storyTest(suite, 'listeners hear events and progress in order until disposed', async (story) => {
    const events: OperationEvent[] = [];
    const progress: OperationProgress[] = [];
    const sentence = { doneBytes: 1, totalBytes: 2, bytesPerSecond: 3, remainingMs: null };
    story.define(async (context) => {
      await context.step('a', {
        do: async () => {
          context.progress({ step: 'a', ...sentence });
          return null;
        },
        undo: 'nothing',
      });
      return null;
    });
    const subscription = story.engine().subscribe({
      onEvent: (event, record) => {
        assert.equal(record.id, event.operationId);
        events.push(event);
      },
      onProgress: (said) => progress.push(said),
    });
    await story.start('one');
    await story.settled('one');
    assert.deepEqual(events, await story.engine().history(named('one'), 0));
    assert.deepEqual(progress, [{ operationId: 'op-one', step: 'a', ...sentence }]);
    subscription[Symbol.dispose]();
    await story.start('two');
    await story.settled('two');
    assert.equal(events.at(-1)?.operationId, 'op-one');
  });
}
