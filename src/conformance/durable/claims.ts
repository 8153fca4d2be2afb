import assert from 'node:assert/strict';
import {
  type DurableTest,
  failing,
  gate,
  gated,
  marking,
  named,
  type Story,
  storyTest,
} from './story.ts';

export function claimTests(suite: DurableTest): void {
  storyTest(suite, 'an exclusive claim is held until the end, across a crash', async (story) => {
    const gates = [gate(), gate()];
    let runs = 0;
    story.define((context) => {
      const current = gates[runs] ?? gate();
      runs += 1;
      return context.step('a', gated(story, 'a', current));
    });
    const claims = { exclusive: ['replica:1', 'host:1'] };
    await story.start('one', { claims });
    await gates[0]?.reached.promise;
    const details = { what: 'host:1', operation: 'op-one', kind: 'replicate' };
    const refused = { code: 'operation-in-progress', details };
    const competing = { claims: { exclusive: ['host:1'] } };
    await assert.rejects(story.start('two', competing), refused);
    assert.equal(await story.engine().operation(named('two')), null);
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    await assert.rejects(story.start('two', competing), refused);
    gates[1]?.opened.resolve();
    await story.settled('one');
    gates.push(gate());
    gates[2]?.opened.resolve();
    await story.start('two', competing);
    assert.equal((await story.settled('two')).state, 'succeeded');
  });

  storyTest(suite, 'queued and suspended operations hold their claims', async (story) => {
    const waiting = gate();
    story.define(async (context) => {
      await context.step('a', marking(story, 'a', { undo: 'irreversible' }));
      return context.step('b', failing(story, 'b'));
    });
    story.define((context) => context.step('a', gated(story, 'a', waiting)), 'failover');
    const slots = [{ name: 's', limit: 1 }];
    await story.start('one', { claims: { exclusive: ['x'] } });
    await story.settled('one');
    await story.start('two', { kind: 'failover', claims: { slots } });
    await story.start('three', { kind: 'failover', claims: { slots, exclusive: ['y'] } });
    const busy = { code: 'operation-in-progress' };
    await assert.rejects(story.start('four', { claims: { exclusive: ['x'] } }), busy);
    await assert.rejects(story.start('five', { claims: { exclusive: ['y'] } }), busy);
    waiting.opened.resolve();
    await story.settled('three');
  });

  storyTest(suite, 'slots bound what runs, in order of acceptance', async (story) => {
    const { peak } = await runThrough(story, 6, { slots: [{ name: 's', limit: 2 }] });
    assert.equal(peak, 2);
    const begun = story.world.filter((line) => line.startsWith('begin'));
    assert.deepEqual(
      begun,
      [0, 1, 2, 3, 4, 5].map((n) => `begin op-n${n}`),
    );
  });

  storyTest(suite, 'one that needs two slots is not overtaken for ever', async (story) => {
    const gates = new Map<string, ReturnType<typeof gate>>();
    const gateOf = (id: string) => {
      const known = gates.get(id) ?? gate();
      gates.set(id, known);
      return known;
    };
    story.define((context) =>
      context.step('a', gated(story, context.operationId, gateOf(context.operationId))),
    );
    const slot = (name: string) => ({ name, limit: 1 });
    await story.start('a', { claims: { slots: [slot('a')] } });
    await gateOf('op-a').reached.promise;
    await story.start('ab', { claims: { slots: [slot('a'), slot('b')] } });
    await story.start('b', { claims: { slots: [slot('b')] } });
    assert.equal((await story.engine().operation(named('b')))?.state, 'queued');
    gateOf('op-a').opened.resolve();
    await gateOf('op-ab').reached.promise;
    gateOf('op-ab').opened.resolve();
    gateOf('op-b').opened.resolve();
    await story.settled('b');
    assert.deepEqual(
      story.world.filter((line) => line.startsWith('begin')),
      ['begin op-a', 'begin op-ab', 'begin op-b'],
    );
  });

  storyTest(suite, 'a slot that is named twice is taken twice, and given back', async (story) => {
    const gates = new Map(['op-one', 'op-two', 'op-three'].map((id) => [id, gate()]));
    const gateOf = (id: string) => gates.get(id) ?? assert.fail(`no gate for ${id}`);
    story.define((context) =>
      context.step('a', gated(story, context.operationId, gateOf(context.operationId))),
    );
    const slot = { name: 's', limit: 2 };
    await story.start('one', { claims: { slots: [slot] } });
    await gateOf('op-one').reached.promise;
    await story.start('two', { claims: { slots: [slot, slot] } });
    await story.start('three', { claims: { slots: [slot] } });
    assert.equal((await story.engine().operation(named('two')))?.state, 'queued');
    gateOf('op-one').opened.resolve();
    await gateOf('op-two').reached.promise;
    assert.equal((await story.engine().operation(named('three')))?.state, 'queued');
    gateOf('op-two').opened.resolve();
    gateOf('op-three').opened.resolve();
    await story.settled('three');
  });

  storyTest(suite, 'one that is queued says what it waits for, and who has that', async (story) => {
    const gates = new Map(['op-one', 'op-two'].map((id) => [id, gate()]));
    const gateOf = (id: string) => gates.get(id) ?? gate();
    story.define((context) =>
      context.step('a', gated(story, context.operationId, gateOf(context.operationId))),
    );
    const claims = { slots: [{ name: 's', limit: 1 }] };
    await story.start('one', { claims });
    await gateOf('op-one').reached.promise;
    await story.start('two', { claims });
    const ids = ['one', 'two', 'nobody'].map(named);
    const waits = async () => [...(await story.engine().waits(ids))];
    const held = { name: 's', limit: 1, taken: 1, heldBy: [named('one')] };
    assert.deepEqual(await waits(), [[named('two'), [held]]]);
    gateOf('op-one').opened.resolve();
    await gateOf('op-two').reached.promise;
    assert.deepEqual(await waits(), []);
    gateOf('op-two').opened.resolve();
    await story.settled('two');
  });

  storyTest(suite, 'slots and the queue survive a crash', async (story) => {
    const slots = [{ name: 's', limit: 1 }];
    const gates = [gate(), gate()];
    let runs = 0;
    story.define((context) => {
      const current = gates[runs] ?? gate();
      runs += 1;
      return context.step('a', gated(story, context.operationId, current));
    });
    await story.start('one', { claims: { slots } });
    await story.start('two', { claims: { slots } });
    await gates[0]?.reached.promise;
    await story.crashAndResume();
    await gates[1]?.reached.promise;
    assert.equal((await story.engine().operation(named('two')))?.state, 'queued');
    gates.push(gate());
    gates[2]?.opened.resolve();
    gates[1]?.opened.resolve();
    assert.equal((await story.settled('two')).state, 'succeeded');
    assert.deepEqual(story.world.slice(0, 3), ['begin op-one', 'begin op-one', 'do op-one']);
  });

  storyTest(
    suite,
    'slots are lent while a message is waited for, and had again at once',
    async (story) => {
      const slots = [{ name: 's', limit: 1 }];
      const gates = { 'op-one': gate(), 'op-two': gate(), 'op-three': gate() };
      const gateOf = (id: string) => gates[id as keyof typeof gates];
      story.define(async (context) => {
        await context.receive('m', 't', 1000, { lendsSlots: true });
        return context.step('a', gated(story, 'one', gateOf('op-one')));
      });
      story.define(
        (context) =>
          context.step('a', gated(story, context.operationId, gateOf(context.operationId))),
        'failover',
      );
      await story.start('one', { claims: { slots } });
      await story.harness.clock.whenSleeping(1);
      await story.start('two', { kind: 'failover', claims: { slots } });
      await story.start('three', { kind: 'failover', claims: { slots } });
      await gateOf('op-two').reached.promise;
      await story.engine().send(named('one'), 't', 'go on');
      await gateOf('op-one').reached.promise;
      gateOf('op-two').opened.resolve();
      await story.settled('two');
      assert.equal((await story.engine().operation(named('three')))?.state, 'queued');
      gateOf('op-one').opened.resolve();
      gateOf('op-three').opened.resolve();
      assert.equal((await story.settled('three')).state, 'succeeded');
    },
  );

  storyTest(
    suite,
    'a plain wait keeps its slots, one that is cancelled lends nothing more',
    async (story) => {
      const slots = [{ name: 's', limit: 1 }];
      story.define((context) => context.receive('m', 't', 1000));
      story.define((context) => context.receive('m', 't', 1000, { lendsSlots: true }), 'hop');
      story.define((context) => context.step('a', marking(story, 'other')), 'failover');
      await story.start('one', { claims: { slots } });
      await story.harness.clock.whenSleeping(1);
      await story.start('two', { kind: 'failover', claims: { slots } });
      assert.equal((await story.engine().operation(named('two')))?.state, 'queued');
      await story.engine().send(named('one'), 't', null);
      await story.settled('two');
      await story.start('three', { kind: 'hop', claims: { slots } });
      await story.harness.clock.whenSleeping(1);
      await story.engine().cancel(named('three'));
      assert.equal((await story.settled('three')).state, 'cancelled');
      await story.start('four', { kind: 'failover', claims: { slots } });
      assert.equal((await story.settled('four')).state, 'succeeded');
    },
  );

  storyTest(suite, 'what waits lends its slots again after a crash', async (story) => {
    const slots = [{ name: 's', limit: 1 }];
    story.define((context) => context.receive('m', 't', 1000, { lendsSlots: true }));
    story.define((context) => context.step('a', marking(story, 'other')), 'failover');
    await story.start('one', { claims: { slots } });
    await story.harness.clock.whenSleeping(1);
    await story.crashAndResume();
    await story.start('two', { kind: 'failover', claims: { slots } });
    assert.equal((await story.settled('two')).state, 'succeeded');
    await story.engine().send(named('one'), 't', 'yes');
    assert.equal((await story.settled('one')).result, 'yes');
  });

  storyTest(suite, 'a suspended operation gives its slots to others', async (story) => {
    const slots = [{ name: 's', limit: 1 }];
    story.define(async (context) => {
      await context.step('a', marking(story, 'a', { undo: 'irreversible' }));
      return context.step('b', failing(story, 'b'));
    });
    story.define((context) => context.step('a', marking(story, 'other')), 'failover');
    await story.start('one', { claims: { slots } });
    await story.settled('one');
    await story.start('two', { kind: 'failover', claims: { slots } });
    assert.equal((await story.settled('two')).state, 'succeeded');
  });
}

async function runThrough(
  story: Story,
  count: number,
  claims: { readonly slots: readonly { readonly name: string; readonly limit: number }[] },
): Promise<{ readonly peak: number }> {
  let running = 0;
  let peak = 0;
  story.define((context) =>
    context.step('a', {
      do: async () => {
        running += 1;
        peak = Math.max(peak, running);
        story.world.push(`begin ${context.operationId}`);
        for (let turn = 0; turn < 5; turn += 1) await new Promise((r) => setImmediate(r));
        running -= 1;
        return null;
      },
      undo: 'nothing',
    }),
  );
  const names = Array.from({ length: count }, (_, n) => `n${n}`);
  await Promise.all(names.map((name) => story.start(name, { claims })));
  await Promise.all(names.map((name) => story.settled(name)));
  return { peak };
}
