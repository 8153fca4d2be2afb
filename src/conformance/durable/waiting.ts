import assert from 'node:assert/strict';
import { type DurableTest, gate, gated, marking, named, storyTest } from './story.ts';

export function waitingTests(suite: DurableTest): void {
  storyTest(suite, 'messages of a topic are kept and received in order', async (story) => {
    const first = gate();
    story.define(async (context) => {
      await context.step('a', gated(story, 'a', first));
      const one = await context.receive('m1', 't', 1000);
      const other = await context.receive('m2', 'u', 1000);
      const two = await context.receive('m3', 't', 1000);
      return [one, other, two];
    });
    await story.start('one');
    await first.reached.promise;
    for (const [topic, message] of [
      ['t', 1],
      ['u', { x: [null] }],
      ['t', 2],
    ] as const) {
      await story.engine().send(named('one'), topic, message);
    }
    first.opened.resolve();
    assert.deepEqual((await story.settled('one')).result, [1, { x: [null] }, 2]);
  });

  storyTest(suite, 'a waiting receive gets what is sent', async (story) => {
    story.define((context) => context.receive('m', 't', 1000));
    await story.start('one');
    await story.harness.clock.whenSleeping(1);
    await story.engine().send(named('one'), 'other', 'no');
    await story.engine().send(named('one'), 't', 'yes');
    assert.equal((await story.settled('one')).result, 'yes');
  });

  storyTest(suite, 'a receive without a message ends with null, in time', async (story) => {
    story.define((context) => context.receive('m', 't', 1000));
    await story.start('one');
    await story.harness.clock.whenSleeping(1);
    await story.harness.clock.advance(999);
    assert.equal((await story.engine().operation(named('one')))?.state, 'running');
    await story.harness.clock.advance(1);
    assert.equal((await story.settled('one')).result, null);
  });

  storyTest(
    suite,
    'the time limit counts from the first reaching, and messages survive',
    async (story) => {
      story.define(async (context) => {
        const none = await context.receive('m', 't', 1000);
        const kept = await context.receive('k', 'u', 1000);
        return [none, kept];
      });
      await story.start('one');
      await story.harness.clock.whenSleeping(1);
      await story.engine().send(named('one'), 'u', 'kept');
      const before = story.harness.clock.sleepers();
      await story.harness.clock.advance(600);
      await story.crashAndResume();
      await story.harness.clock.whenSleeping(before + 1);
      await story.harness.clock.advance(399);
      assert.equal((await story.engine().operation(named('one')))?.state, 'running');
      await story.harness.clock.advance(1);
      assert.deepEqual((await story.settled('one')).result, [null, 'kept']);
    },
  );

  storyTest(suite, 'a received message is received once', async (story) => {
    const gates = [gate(), gate()];
    let runs = 0;
    story.define(async (context) => {
      const message = await context.receive('m', 't', 1000);
      const current = gates[runs] ?? gate();
      runs += 1;
      await context.step('a', gated(story, 'a', current));
      return [message, await context.receive('n', 't', 0)];
    });
    await story.start('one');
    await story.engine().send(named('one'), 't', 'only');
    await gates[0]?.reached.promise;
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    gates[1]?.opened.resolve();
    assert.deepEqual((await story.settled('one')).result, ['only', null]);
  });

  storyTest(suite, 'a pause lasts as long as it was asked, also across a crash', async (story) => {
    story.define(async (context) => {
      await context.sleep('s', 1000);
      return context.now('after');
    });
    const started = story.harness.clock.now();
    await story.start('one');
    await story.harness.clock.whenSleeping(1);
    await story.harness.clock.advance(700);
    const before = story.harness.clock.sleepers();
    await story.crashAndResume();
    await story.harness.clock.whenSleeping(before + 1);
    await story.harness.clock.advance(300);
    assert.equal((await story.settled('one')).result, started + 1000);
  });

  for (const type of ['receive', 'sleep'] as const) {
    storyTest(suite, `a cancel ends ${type}`, async (story) => {
      story.define(async (context) => {
        await context.step('a', marking(story, 'a'));
        if (type === 'sleep') await context.sleep('w', 1e9);
        else await context.receive('w', 't', 1e9);
        return null;
      });
      await story.start('one');
      await story.harness.clock.whenSleeping(1);
      await story.engine().cancel(named('one'));
      assert.equal((await story.settled('one')).state, 'cancelled');
      assert.deepEqual(story.world, ['do a', 'undo a']);
    });
  }
}
