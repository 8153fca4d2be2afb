/** Parts of an operation: named for themselves, and bound for themselves. */
import assert from 'node:assert/strict';
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

export function partTests(suite: DurableTest): void {
  storyTest(suite, 'the same function can be several parts of one operation', async (story) => {
    const keys: string[] = [];
    story.define(async (context) => {
      const turn = (name: string) =>
        context.part(name, 'part', (inner) =>
          inner.step('a', {
            do: async ({ key }) => {
              keys.push(key);
              return name;
            },
            undo: 'nothing',
          }),
        );
      const nested = context.part('outer', 'operation', (outer) =>
        outer.part('inner', 'part', async () => 'deep'),
      );
      return [await turn('one'), await turn('two'), await nested];
    });
    await story.start('one');
    assert.deepEqual((await story.settled('one')).result, ['one', 'two', 'deep']);
    assert.deepEqual(keys, ['op-one/one/a', 'op-one/two/a']);
    assert.ok((await story.history('one')).includes('step-succeeded one/a'));
  });

  storyTest(
    suite,
    'what is irreversible in a part stands, what came before the part is undone',
    async (story) => {
      story.define(async (context) => {
        await context.step('before', marking(story, 'before'));
        await context.part('run', 'part', async (part) => {
          await part.step('a', marking(story, 'a'));
          await part.step('seal', marking(story, 'seal', { undo: 'irreversible' }));
          await part.step('b', marking(story, 'b'));
        });
        await context.step('after', failing(story, 'after'));
        return null;
      });
      await story.start('one');
      assert.equal((await story.settled('one')).state, 'failed');
      assert.deepEqual(story.world, [
        ...['do before', 'do a', 'do seal', 'do b', 'fail after'],
        ...['undo after', 'undo b', 'undo before'],
      ]);
    },
  );

  storyTest(suite, 'a part that has not settled is undone like everything else', async (story) => {
    story.define(async (context) => {
      await context.part('run', 'part', async (part) => {
        await part.step('a', marking(story, 'a'));
        await part.step('seal', failing(story, 'seal', { undo: 'irreversible' }));
      });
      return null;
    });
    await story.start('one');
    assert.equal((await story.settled('one')).state, 'failed');
    assert.deepEqual(story.world, ['do a', 'fail seal', 'undo a']);
  });

  storyTest(suite, 'records in a part settle it too, also after a crash', async (story) => {
    const stop = gate();
    story.define(async (context) => {
      await context.step('before', marking(story, 'before'));
      await context.part('run', 'part', async (part) => {
        await part.step('a', marking(story, 'a'));
        await part.record('r', [removal('h1')], { undo: 'irreversible' });
      });
      await context.step('wait', gated(story, 'wait', stop));
      await context.step('after', failing(story, 'after'));
      return null;
    });
    await story.start('one');
    await stop.reached.promise;
    await story.crashAndResume();
    stop.opened.resolve();
    assert.equal((await story.settled('one')).state, 'failed');
    assert.deepEqual(await story.harness.applied(), [removal('h1')]);
    assert.ok(story.world.includes('undo before') && !story.world.includes('undo a'));
  });

  storyTest(suite, 'a part of the operation binds the operation', async (story) => {
    story.define(async (context) => {
      await context.step('before', marking(story, 'before'));
      await context.part('run', 'operation', (part) =>
        part.step('seal', marking(story, 'seal', { undo: 'irreversible' })),
      );
      await context.step('after', failing(story, 'after'));
      return null;
    });
    await story.start('one');
    assert.equal((await story.settled('one')).state, 'suspended');
    assert.deepEqual(story.world, ['do before', 'do seal', 'fail after']);
  });

  storyTest(
    suite,
    'a cancel waits for the end of a part that has settled, then takes effect',
    async (story) => {
      const stop = gate();
      story.define(async (context) => {
        await context.step('before', marking(story, 'before'));
        await context.part('run', 'part', async (part) => {
          await part.step('seal', marking(story, 'seal', { undo: 'irreversible' }));
          await part.step('b', gated(story, 'b', stop));
          await part.step('c', marking(story, 'c', { undo: 'nothing' }));
        });
        await context.step('after', marking(story, 'after'));
        return null;
      });
      await story.start('one');
      await stop.reached.promise;
      await story.engine().cancel(named('one'));
      stop.opened.resolve();
      assert.equal((await story.settled('one')).state, 'cancelled');
      assert.deepEqual(story.world, [
        ...['do before', 'do seal', 'begin b', 'do b', 'do c'],
        ...['undo b', 'undo before'],
      ]);
    },
  );
}
