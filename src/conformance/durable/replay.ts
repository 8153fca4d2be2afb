import assert from 'node:assert/strict';
import { UnderstudyError } from '../../domain/error.ts';
import type { StepAttempt } from '../../ports/durable.ts';
import {
  type DurableTest,
  failing,
  gate,
  gated,
  marking,
  named,
  removal,
  storyTest,
} from './story.ts';

export function replayTests(suite: DurableTest): void {
  storyTest(
    suite,
    'after a crash journaled steps are read, the interrupted one runs again',
    async (story) => {
      const attempts: StepAttempt[] = [];
      const first = gate();
      const second = gate();
      let current = first;
      story.define(async (context) => {
        const a = await context.step('a', marking(story, 'a'));
        await context.step('b', {
          ...gated(story, 'b', current),
          do: async (attempt) => {
            attempts.push(attempt);
            return gated(story, 'b', current).do(attempt);
          },
        });
        return a;
      });
      await story.start('one');
      await first.reached.promise;
      current = second;
      await story.crashAndResume();
      await second.reached.promise;
      second.opened.resolve();
      const record = await story.settled('one');
      assert.equal(record.result, 'a');
      assert.deepEqual(story.world, ['do a', 'begin b', 'begin b', 'do b']);
      assert.deepEqual(
        attempts.map(({ key, attempt }) => [key, attempt]),
        [
          ['op-one/b', 1],
          ['op-one/b', 1],
        ],
      );
      assert.ok((await story.history('one')).includes('resumed'));
    },
  );

  storyTest(suite, 'time, ids and notes are the same on every replay', async (story) => {
    const seen: unknown[] = [];
    const gates = [gate(), gate()];
    story.define(async (context) => {
      seen.push([await context.now('now'), await context.freshId('id', 'pt')]);
      await context.note('note', 'once');
      const current = gates[seen.length - 1] ?? gate();
      return context.step('a', gated(story, 'a', current));
    });
    await story.start('one');
    await gates[0]?.reached.promise;
    await story.harness.clock.advance(5000);
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    await story.settled('one');
    assert.equal(seen.length, 2);
    assert.deepEqual(seen[0], seen[1]);
    const notes = (await story.history('one')).filter((line) => line === 'note note');
    assert.equal(notes.length, 1);
  });

  storyTest(suite, 'recorded changes are applied exactly once', async (story) => {
    const gates = [gate(), gate()];
    let runs = 0;
    story.define(async (context) => {
      await context.record('r', [removal('h1'), removal('h2')], { undo: 'nothing' });
      const current = gates[runs] ?? gate();
      runs += 1;
      return context.step('a', gated(story, 'a', current));
    });
    await story.start('one');
    await gates[0]?.reached.promise;
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    await story.settled('one');
    assert.deepEqual(await story.harness.applied(), [removal('h1'), removal('h2')]);
  });

  storyTest(
    suite,
    'refused changes leave no trace, and the function sees the refusal',
    async (story) => {
      const gates = [gate(), gate()];
      const refusals: unknown[] = [];
      story.define(async (context) => {
        try {
          await context.record('r', [removal('h1'), removal('refused')], { undo: 'nothing' });
        } catch (error) {
          refusals.push(error instanceof UnderstudyError ? error.code : error);
        }
        const current = gates[refusals.length - 1] ?? gate();
        return context.step('a', gated(story, 'a', current));
      });
      await story.start('one');
      await gates[0]?.reached.promise;
      await story.crashAndResume();
      await gates[1]?.reached.promise;
      gates[1]?.opened.resolve();
      assert.equal((await story.settled('one')).state, 'succeeded');
      assert.deepEqual(refusals, ['version-conflict', 'version-conflict']);
      const failures = (await story.history('one')).filter((line) => line === 'step-failed r');
      assert.equal(failures.length, 1, 'the refusal is read, not asked for again');
      assert.deepEqual(await story.harness.applied(), []);
    },
  );

  storyTest(suite, 'a failure that the function handled is journaled, too', async (story) => {
    const gates = [gate(), gate()];
    let runs = 0;
    story.define(async (context) => {
      const how = await context.step('a', failing(story, 'a')).catch((error) => error.code);
      const current = gates[runs] ?? gate();
      runs += 1;
      await context.step('b', gated(story, 'b', current));
      return how;
    });
    await story.start('one');
    await gates[0]?.reached.promise;
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    const record = await story.settled('one');
    assert.equal(record.state, 'succeeded');
    assert.equal(record.result, 'vm-not-off');
    assert.equal(story.world.filter((line) => line === 'fail a').length, 1);
  });

  storyTest(
    suite,
    'a step of another name suspends with stale-journal; the right one goes on',
    async (story) => {
      const first = gate();
      story.define(async (context) => {
        await context.step('a', marking(story, 'a'));
        await context.step('b', gated(story, 'b', first));
        return 1;
      });
      await story.start('one');
      await first.reached.promise;
      await story.harness.crash();
      story.define(async (context) => {
        // Even a function that swallows errors gets no further.
        await context.step('other', marking(story, 'other')).catch(() => {});
        await context.step('b', marking(story, 'b')).catch(() => {});
        return 2;
      });
      await story.crashAndResume();
      const stale = await story.settled('one');
      assert.equal(stale.state, 'suspended');
      assert.equal(stale.error?.code, 'stale-journal');
      assert.deepEqual(stale.error?.details, {
        operation: 'op-one',
        expected: 'other',
        found: 'a',
      });
      story.define(async (context) => {
        await context.step('a', marking(story, 'a'));
        await context.step('b', marking(story, 'b'));
        return 3;
      });
      await story.engine().retry(named('one'));
      assert.equal((await story.settled('one')).result, 3);
      assert.deepEqual(story.world, ['do a', 'begin b', 'do b']);
    },
  );

  storyTest(suite, 'a function that ends before its journal does is stale', async (story) => {
    const first = gate();
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      return context.step('b', gated(story, 'b', first));
    });
    await story.start('one');
    await first.reached.promise;
    story.define(async () => 'too early');
    await story.crashAndResume();
    assert.equal((await story.settled('one')).error?.code, 'stale-journal');
  });

  storyTest(suite, 'one name twice is a bug of the function', async (story) => {
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      await context.step('a', marking(story, 'a'));
      return null;
    });
    await story.start('one');
    const record = await story.settled('one');
    assert.equal(record.state, 'failed');
    assert.equal(record.error?.code, 'unexpected');
    assert.deepEqual(story.world, ['do a', 'undo a']);
  });

  storyTest(suite, 'close stops without compensation, and resume continues', async (story) => {
    const gates = [gate(), gate()];
    let runs = 0;
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      const current = gates[runs] ?? gate();
      runs += 1;
      return context.step('b', gated(story, 'b', current));
    });
    await story.start('one');
    await gates[0]?.reached.promise;
    const settled = assert.rejects(story.settled('one'), { code: 'shutting-down' });
    await story.closeAndResume();
    await settled;
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    assert.equal((await story.settled('one')).state, 'succeeded');
    assert.deepEqual(story.world, ['do a', 'begin b', 'begin b', 'do b']);
  });
}
