/** Every story still goes as its golden log tells. `npm run scenarios -- --update NAME` writes a log anew. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { difference } from './stage/difference.ts';
import { playStory } from './stage/play.ts';
import { goldenPath, readStory, storyNames } from './stage/story.ts';

for (const name of storyNames()) {
  test(name, async () => {
    const told = await playStory(readStory(name));
    const golden = readFileSync(goldenPath(name), 'utf8');
    assert.equal(difference(golden, told), '', 'what happened is not what the golden log tells');
  });
}

test('a difference shows what is gone, what is new, and little else', () => {
  const golden = ['a', 'b', 'c', 'd', 'e', 'f'].join('\n');
  const told = ['a', 'b', 'c', 'd', 'E', 'f'].join('\n');
  assert.equal(difference(golden, told), '  b\n  c\n  d\n- e\n+ E\n  f');
  assert.equal(difference(golden, golden), '');
});
