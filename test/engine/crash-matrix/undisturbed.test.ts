/** What the matrix disturbs comes to the end that it is meant to have: a story that is refused early would try nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asUnderstudyError } from '../../../src/domain/error.ts';
import { Stage } from '../stage.ts';
import { ALL_STORIES } from './trouble.ts';

for (const [name, { prepare, act, refusedWith }] of Object.entries(ALL_STORIES)) {
  test(`${name}: nothing is the matter`, async () => {
    await using stage = await Stage.open();
    await prepare(stage);
    const ended = await act(stage).then(
      ({ state, error }) => error?.code ?? state,
      (error) => asUnderstudyError(error).code,
    );
    assert.equal(ended, refusedWith ?? 'succeeded');
  });
}
