import assert from 'node:assert/strict';
import { UnderstudyError } from '../../domain/error.ts';
import type { RetryPolicy, UndoAttempt } from '../../ports/durable.ts';
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

const THREE_TRIES: RetryPolicy = { attemptsMax: 3, firstDelayMs: 100, delayMsMax: 150 };

export function compensationTests(suite: DurableTest): void {
  storyTest(suite, 'a transient error is tried again as the policy says', async (story) => {
    const times: number[] = [];
    story.define((context) =>
      context.step('a', {
        do: async ({ attempt }) => {
          times.push(story.harness.clock.monotonicMs());
          if (attempt < 3) throw new UnderstudyError('connection-lost', { endpoint: 'x' });
          return attempt;
        },
        undo: 'nothing',
        retry: THREE_TRIES,
      }),
    );
    await story.start('one');
    for (const delayMs of [100, 150]) {
      await story.harness.clock.whenSleeping(1);
      await story.harness.clock.advance(delayMs);
    }
    assert.equal((await story.settled('one')).result, 3);
    assert.deepEqual(times, [0, 100, 250]);
    const retries = (await story.history('one')).filter((line) => line === 'step-retrying a');
    assert.equal(retries.length, 2);
  });

  storyTest(suite, 'other errors stand at once', async (story) => {
    story.define((context) => context.step('a', failing(story, 'a', { retry: THREE_TRIES })));
    await story.start('one');
    assert.equal((await story.settled('one')).state, 'failed');
    assert.deepEqual(story.world, ['fail a', 'undo a']);
  });

  storyTest(suite, 'a failure undoes this and all earlier steps, newest first', async (story) => {
    const keys: string[] = [];
    story.define(async (context) => {
      const undo = async ({ key, signal }: { key: string; signal: AbortSignal }) => {
        assert.equal(signal.aborted, false);
        keys.push(key);
        story.world.push('undo a');
      };
      await context.step('a', marking(story, 'a', { undo }));
      await context.step('b', marking(story, 'b', { undo: 'nothing' }));
      await context.record('r', [removal('h1')], { undo: [removal('h2')] });
      await context.step('c', marking(story, 'c'));
      await context.step('d', failing(story, 'd'));
      return null;
    });
    await story.start('one');
    const record = await story.settled('one');
    assert.equal(record.state, 'failed');
    assert.equal(record.error?.code, 'vm-not-off');
    const undone = ['undo d', 'undo c', 'undo a'];
    assert.deepEqual(story.world, ['do a', 'do b', 'do c', 'fail d', ...undone]);
    assert.deepEqual(keys, ['op-one/a']);
    assert.deepEqual(await story.harness.applied(), [removal('h1'), removal('h2')]);
    assert.deepEqual((await story.history('one')).slice(-7), [
      'step-failed d',
      'compensating',
      'step-undone d',
      'step-undone c',
      'step-undone r',
      'step-undone a',
      'failed',
    ]);
  });

  storyTest(suite, 'an error of the function itself compensates as well', async (story) => {
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      throw new Error('surprise');
    });
    await story.start('one');
    const record = await story.settled('one');
    assert.equal(record.error?.code, 'unexpected');
    assert.deepEqual(story.world, ['do a', 'undo a']);
  });

  storyTest(suite, 'a crash while going back resumes going back', async (story) => {
    const gates = [gate(), gate()];
    let tries = 0;
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      const undo = async () => {
        story.world.push('undo b?');
        const current = gates[tries] ?? gate();
        tries += 1;
        current.reached.resolve();
        await current.opened.promise;
        story.world.push('undo b');
      };
      await context.record('r', [removal('h1')], { undo: [removal('h2')] });
      await context.step('b', marking(story, 'b', { undo }));
      await context.step('c', failing(story, 'c'));
      return null;
    });
    await story.start('one');
    await gates[0]?.reached.promise;
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    const record = await story.settled('one');
    assert.equal(record.state, 'failed');
    assert.equal(record.error?.code, 'vm-not-off');
    const undone = ['undo c', 'undo b?', 'undo b?', 'undo b', 'undo a'];
    assert.deepEqual(story.world, ['do a', 'do b', 'fail c', ...undone]);
    assert.deepEqual(await story.harness.applied(), [removal('h1'), removal('h2')]);
  });

  storyTest(
    suite,
    'an undo notes what it leaves once, whatever happened on the way',
    async (story) => {
      const second = gate();
      let tries = 0;
      story.define(async (context) => {
        const undo = async ({ note }: UndoAttempt) => {
          tries += 1;
          note(`left by try ${tries}`);
          if (tries === 1) throw new UnderstudyError('host-unreachable', { host: 'h' });
          if (tries > 2) return;
          second.reached.resolve();
          await second.opened.promise;
        };
        await context.step('a', marking(story, 'a', { undo, retry: THREE_TRIES }));
        await context.step('b', failing(story, 'b'));
        return null;
      });
      await story.start('one');
      await story.harness.clock.whenSleeping(1);
      await story.harness.clock.advance(100);
      await second.reached.promise;
      await story.crashAndResume();
      assert.equal((await story.settled('one')).state, 'failed');
      const events = await story.engine().history(named('one'), 0);
      assert.deepEqual(
        events
          .slice(-3)
          .map(({ type, step, message }) => [type, step, type === 'note' ? message : '']),
        [
          ['note', 'a', 'left by try 3'],
          ['step-undone', 'a', ''],
          ['failed', null, ''],
        ],
      );
      assert.equal(events.filter(({ type }) => type === 'note').length, 1);
    },
  );

  storyTest(suite, 'an undo that keeps failing suspends; retry goes on undoing', async (story) => {
    let isHostAway = true;
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      const undo = async () => {
        story.world.push('try undo b');
        if (isHostAway) throw new UnderstudyError('host-unreachable', { host: 'h' });
      };
      await context.step('b', marking(story, 'b', { undo, retry: THREE_TRIES }));
      await context.step('c', failing(story, 'c'));
      return null;
    });
    await story.start('one');
    for (const delayMs of [100, 150]) {
      await story.harness.clock.whenSleeping(1);
      await story.harness.clock.advance(delayMs);
    }
    const suspended = await story.settled('one');
    assert.equal(suspended.state, 'suspended');
    assert.equal(suspended.error?.code, 'host-unreachable');
    isHostAway = false;
    await story.crashAndResume();
    assert.equal((await story.settled('one')).state, 'suspended', 'a restart does not retry');
    await story.engine().retry(named('one'));
    const record = await story.settled('one');
    assert.equal(record.state, 'failed');
    assert.equal(record.error?.code, 'vm-not-off');
    const tries = ['try undo b', 'try undo b', 'try undo b'];
    const expected = ['do a', 'do b', 'fail c', 'undo c', ...tries, 'try undo b', 'undo a'];
    assert.deepEqual(story.world, expected);
  });

  storyTest(
    suite,
    'past an irreversible step a failure suspends, and retry repeats the failed step',
    async (story) => {
      let isBroken = true;
      const errors: unknown[] = [];
      story.define(async (context) => {
        await context.step('a', marking(story, 'a'));
        await context.step('b', marking(story, 'b', { undo: 'irreversible' }));
        await context.step('c', isBroken ? failing(story, 'c') : marking(story, 'c'));
        errors.push((await story.engine().operation(named('one')))?.error?.code);
        return 'through';
      });
      await story.start('one');
      const suspended = await story.settled('one');
      assert.equal(suspended.state, 'suspended');
      assert.equal(suspended.error?.code, 'vm-not-off');
      assert.equal(suspended.endedAt, null);
      isBroken = false;
      await story.engine().retry(named('one'));
      const record = await story.settled('one');
      assert.equal(record.state, 'succeeded');
      assert.equal(record.error, null);
      assert.deepEqual(errors, [undefined], 'a running operation shows no old error');
      assert.deepEqual(story.world, ['do a', 'do b', 'fail c', 'do c']);
      await assert.rejects(story.engine().retry(named('one')), { code: 'operation-not-retryable' });
    },
  );

  storyTest(suite, 'an irreversible record counts as well', async (story) => {
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      await context.record('r', [removal('h1')], { undo: 'irreversible' });
      await context.step('c', failing(story, 'c'));
      return null;
    });
    await story.start('one');
    assert.equal((await story.settled('one')).state, 'suspended');
    assert.deepEqual(story.world, ['do a', 'fail c']);
  });

  storyTest(suite, 'an irreversible step that failed is no point of no return', async (story) => {
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      await context.step('b', failing(story, 'b', { undo: 'irreversible' }));
      return null;
    });
    await story.start('one');
    assert.equal((await story.settled('one')).state, 'failed');
    assert.deepEqual(story.world, ['do a', 'fail b', 'undo a']);
  });

  storyTest(
    suite,
    'a failure stops steps that run beside it, and waits for them',
    async (story) => {
      const beside = gate();
      story.define(async (context) => {
        const slow = context.step('a', gated(story, 'a', beside));
        const quick = context.step('b', {
          ...failing(story, 'b'),
          do: async () => {
            await beside.reached.promise;
            throw new UnderstudyError('vm-not-off', { vm: 'b' });
          },
        });
        await Promise.all([slow, quick]);
        return null;
      });
      await story.start('one');
      const record = await story.settled('one');
      assert.equal(record.error?.code, 'vm-not-off');
      assert.deepEqual(story.world, ['begin a', 'undo b', 'undo a']);
    },
  );

  storyTest(
    suite,
    'nothing is undone while a step beside it has not noticed yet',
    async (story) => {
      const beside = gate();
      const aborted = Promise.withResolvers<void>();
      story.define(async (context) => {
        const deaf = context.step('a', {
          ...marking(story, 'a'),
          do: async ({ signal }) => {
            signal.addEventListener('abort', () => aborted.resolve());
            beside.reached.resolve();
            await beside.opened.promise;
            story.world.push('do a');
            return null;
          },
        });
        await beside.reached.promise;
        await Promise.all([deaf, context.step('b', failing(story, 'b'))]);
        return null;
      });
      await story.start('one');
      await aborted.promise;
      await story.harness.clock.advance(1);
      beside.opened.resolve();
      await story.settled('one');
      assert.deepEqual(story.world, ['fail b', 'do a', 'undo b', 'undo a']);
    },
  );
}
