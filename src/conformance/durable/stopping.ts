import assert from 'node:assert/strict';
import { UnderstudyError } from '../../domain/error.ts';
import { type DurableTest, failing, gate, gated, marking, named, storyTest } from './story.ts';

export function stoppingTests(suite: DurableTest): void {
  storyTest(suite, 'a cancel aborts the running step and undoes what was done', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      await context.step('b', gated(story, 'b', waiting));
      await context.step('c', marking(story, 'c'));
      return null;
    });
    await story.start('one');
    await waiting.reached.promise;
    const asked = await story.engine().cancel(named('one'), 'somebody needs the room');
    assert.equal(asked.isCancelRequested, true);
    await story.engine().cancel(named('one'));
    const record = await story.settled('one');
    assert.equal(record.state, 'cancelled');
    assert.equal(record.error?.code, 'cancelled');
    assert.deepEqual(story.world, ['do a', 'begin b', 'undo b', 'undo a']);
    const history = await story.history('one');
    assert.equal(history.filter((line) => line === 'cancel-requested').length, 1);
    const events = await story.engine().history(named('one'), 0);
    const request = events.find(({ type }) => type === 'cancel-requested');
    assert.equal(request?.message, 'somebody needs the room');
    assert.equal((await story.engine().cancel(named('one'))).state, 'cancelled');
  });

  storyTest(suite, 'a cancel counts even if the step or the function ignores it', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', {
        ...marking(story, 'a'),
        do: async () => {
          waiting.reached.resolve();
          await waiting.opened.promise;
          story.world.push('do a');
          return null;
        },
      });
      await context.step('b', marking(story, 'b')).catch(() => {});
      return 'done';
    });
    await story.start('one');
    await waiting.reached.promise;
    await story.engine().cancel(named('one'));
    waiting.opened.resolve();
    assert.equal((await story.settled('one')).state, 'cancelled');
    assert.deepEqual(story.world, ['do a', 'undo a']);
  });

  storyTest(suite, 'a cancel is no reason to try again', async (story) => {
    const waiting = gate();
    const seen: string[] = [];
    story.define(async (context) => {
      const step = context.step('a', {
        do: async ({ signal }) => {
          waiting.reached.resolve();
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          throw new UnderstudyError('connection-lost', { endpoint: 'x' });
        },
        undo: 'nothing',
      });
      return step.catch((error) => seen.push(error.code));
    });
    await story.start('one');
    await waiting.reached.promise;
    await story.engine().cancel(named('one'));
    assert.equal((await story.settled('one')).state, 'cancelled');
    assert.deepEqual(seen, ['cancelled'], 'whatever the step threw');
    assert.equal((await story.history('one')).includes('step-retrying a'), false);
  });

  storyTest(suite, 'a cancel ends the pause between two attempts', async (story) => {
    story.define((context) =>
      context.step('a', {
        ...marking(story, 'a'),
        do: async () => {
          throw new UnderstudyError('connection-lost', { endpoint: 'x' });
        },
        retry: { attemptsMax: 9, firstDelayMs: 1e9, delayMsMax: 1e9 },
      }),
    );
    await story.start('one');
    await story.harness.clock.whenSleeping(1);
    await story.engine().cancel(named('one'));
    assert.equal((await story.settled('one')).state, 'cancelled');
    assert.deepEqual(story.world, ['undo a']);
  });

  storyTest(suite, 'a cancel survives a crash', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', marking(story, 'a'));
      await context.step('b', {
        ...marking(story, 'b'),
        do: async () => {
          story.world.push('begin b');
          waiting.reached.resolve();
          return new Promise<null>(() => {});
        },
      });
      return null;
    });
    await story.start('one');
    await waiting.reached.promise;
    await story.engine().cancel(named('one'));
    await story.crashAndResume();
    assert.equal((await story.settled('one')).state, 'cancelled');
    assert.deepEqual(story.world, ['do a', 'begin b', 'undo b', 'undo a']);
  });

  storyTest(suite, 'a queued operation that is cancelled never runs', async (story) => {
    const waiting = gate();
    story.define((context) => context.step('a', gated(story, 'a', waiting)));
    const claims = { slots: [{ name: 's', limit: 1 }] };
    await story.start('one', { claims });
    await waiting.reached.promise;
    await story.start('two', { claims });
    await story.engine().cancel(named('two'));
    const record = await story.settled('two');
    assert.equal(record.state, 'cancelled');
    assert.equal(record.startedAt, null);
    assert.deepEqual(await story.history('two'), ['queued', 'cancelled']);
    waiting.opened.resolve();
    assert.equal((await story.settled('one')).state, 'succeeded');
  });

  storyTest(suite, 'past an irreversible step a cancel is refused', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', marking(story, 'a', { undo: 'irreversible' }));
      return context.step('b', gated(story, 'b', waiting));
    });
    await story.start('one');
    await waiting.reached.promise;
    const refused = { code: 'operation-not-cancellable' };
    await assert.rejects(story.engine().cancel(named('one')), refused);
    waiting.opened.resolve();
    assert.equal((await story.settled('one')).state, 'succeeded');
    await assert.rejects(story.engine().cancel(named('one')), refused);
  });

  storyTest(suite, 'a cancel that an irreversible step outruns lapses', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', {
        do: async () => {
          waiting.reached.resolve();
          await waiting.opened.promise;
          return null;
        },
        undo: 'irreversible',
      });
      await context.step('b', marking(story, 'b'));
      return 'through';
    });
    await story.start('one');
    await waiting.reached.promise;
    await story.engine().cancel(named('one'));
    waiting.opened.resolve();
    const record = await story.settled('one');
    assert.equal(record.state, 'succeeded');
    assert.equal(record.isCancelRequested, false);
  });

  storyTest(
    suite,
    'after a crash an irreversible step is brought to its end before a cancel counts',
    async (story) => {
      const gates = [gate(), gate()];
      let tries = 0;
      story.define(async (context) => {
        await context.step('a', {
          do: async ({ signal }) => {
            const current = gates[tries] ?? gate();
            tries += 1;
            current.reached.resolve();
            await current.opened.promise;
            assert.equal(signal.aborted, false);
            return null;
          },
          undo: 'irreversible',
        });
        await context.step('b', marking(story, 'b'));
        return 'through';
      });
      await story.start('one');
      await gates[0]?.reached.promise;
      await story.engine().cancel(named('one'));
      await story.crashAndResume();
      await gates[1]?.reached.promise;
      gates[1]?.opened.resolve();
      assert.equal((await story.settled('one')).state, 'succeeded');
      assert.deepEqual(story.world, ['do b']);
    },
  );

  storyTest(suite, 'a suspended operation is given up without running anything', async (story) => {
    story.define(async (context) => {
      await context.step('a', marking(story, 'a', { undo: 'irreversible' }));
      await context.step('b', failing(story, 'b'));
      return null;
    });
    await story.start('one', { claims: { exclusive: ['x'] } });
    await story.settled('one');
    await story.engine().cancel(named('one'));
    const record = await story.settled('one');
    assert.equal(record.state, 'failed');
    assert.equal(record.error?.code, 'vm-not-off');
    assert.deepEqual(story.world, ['do a', 'fail b']);
    assert.equal((await story.start('two', { claims: { exclusive: ['x'] } })).state, 'queued');
    await story.settled('two');
  });
}
