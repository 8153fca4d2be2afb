/** qemu-img killed in the middle of writing a layer down into its parent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { pointId } from '../../domain/ids.ts';
import type { Processes } from '../../ports/processes.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

const BLOCKS = 512;
/** Spread over the time that a merge takes; 0 lets it finish (timeout(1)). The late ones may come after its end. */
const KILL_AFTER_SECONDS = [0, 0, 0.012, 0.02, 0.03, 0.05];

test('a merge killed at any moment loses nothing and is finished later', {
  skip: needsQemu,
}, async () => {
  await using harness = await createChainHarness();
  const story = await Story.begin(harness);
  const ids = [pointId('p0')];
  await story.replicate('p0', null, plan('none', 0));
  let killed = 0;
  for (const [n, seconds] of KILL_AFTER_SECONDS.entries()) {
    const newest = pointId(`p${n + 1}`);
    await story.replicate(newest, ids.at(-1) ?? null, plan('parent', n + 1));
    ids.push(newest);
    if (ids.length < 3) continue;
    const oldest = ids.shift();
    assert.ok(oldest);
    story.store = harness.openWith({ processes: killingCommits(seconds) });
    try {
      await story.retire(oldest);
    } catch {
      killed += 1;
      story.content.delete(oldest);
    }
    await story.reopen();
    await story.assertPoints();
    await story.tidy();
    await story.assertPoints();
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  }
  assert.ok(killed > 0, 'at least one merge was really killed');
});

/** Half of all blocks, so that each layer hides a part of the one below and shows another. */
function plan(base: 'parent' | 'none', n: number): PointPlan {
  const writes = new Map<number, number>();
  for (let block = n % 2; block < BLOCKS; block += 2 + (n % 3)) {
    writes.set(block, base === 'parent' && block % 5 === 0 ? 0 : n + 1);
  }
  return { vda: { sizeBlocks: BLOCKS, base, writes } };
}

function killingCommits(seconds: number): Processes {
  const real = systemProcesses();
  return {
    ...real,
    run: (command, options) =>
      command.arguments[0] === 'commit'
        ? real.run(
            {
              ...command,
              command: 'timeout',
              arguments: ['-s', 'KILL', String(seconds), command.command, ...command.arguments],
            },
            options,
          )
        : real.run(command, options),
  };
}
