import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteTurn } from './write-turn.ts';

test('one writes at a time, also from the other side, and the next begins when it is done', async () => {
  const here = new WriteTurn();
  const there = new WriteTurn(here.memory);
  const seen: string[] = [];
  const { promise: written, resolve: finish } = Promise.withResolvers<void>();
  const first = here.run(async () => {
    seen.push('first begins');
    await written;
    seen.push('first ends');
  });
  const second = there.run(() => {
    seen.push('second');
  });
  finish();
  await Promise.all([first, second]);
  assert.deepEqual(seen, ['first begins', 'first ends', 'second']);
});

test('a write that fails gives the turn on', async () => {
  const turn = new WriteTurn();
  await assert.rejects(
    turn.run(() => {
      throw new Error('full');
    }),
    /full/,
  );
  await turn.run(() => {});
});

test('who waits for a turn that is never given on is told when its side is closed', async () => {
  const here = new WriteTurn();
  const there = new WriteTurn(here.memory);
  // The thread that has it was ended while it wrote.
  void there.run(() => new Promise(() => {}));
  const waiting = here.run(() => assert.fail('it was not its turn'));
  here.close();
  await assert.rejects(waiting, /closed/);
});

test('a side that was closed writes no more, though nobody else does', async () => {
  const turn = new WriteTurn();
  turn.close();
  const write = () => assert.fail('it was closed');
  await assert.rejects(turn.run(write), { message: 'the image was closed' });
});
