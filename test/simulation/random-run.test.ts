/** Random runs: what `npm run sim` plays. A small fixed set here; `npm test` plays more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChronicle } from '../../src/main/simulation/chronicle.ts';
import { playRandomRun, type RunResult } from '../../src/main/simulation/random-run.ts';
import { HOSTS } from '../../src/main/simulation/random-world.ts';
import { formatSteps, parseSteps, shrinkRun } from '../../src/main/simulation/shrink.ts';
import { BY_HAND, Site } from '../../src/main/simulation/site.ts';

const steps = parseSteps('1-30');

test('the same seed gives the same log, line by line', async () => {
  const first = await playRandomRun({ seed: 7, steps });
  const second = await playRandomRun({ seed: 7, steps });
  assert.deepEqual(first.log, second.log);
  assert.ok(first.operations > 5);
  const other = await playRandomRun({ seed: 8, steps });
  assert.notDeepEqual(first.log, other.log);
});

for (const seed of [1, 2, 3]) {
  test(`seed ${seed}: every invariant holds after every step, and all comes to rest`, async () => {
    const { violations, log } = await playRandomRun({ seed, steps });
    assert.deepEqual(violations, [], log.slice(-30).join('\n'));
  });
}

test('a host that hangs keeps nobody asking for ever', async () => {
  const observer = createChronicle();
  await using site = await Site.open({ seed: 1, hosts: HOSTS, hasScheduler: false, observer });
  observer.watch(site.world);
  site.world.faults.on('north.startGuard.install', 1, 'hang');
  const answer = await site.ask(async (controller) => {
    await controller.installGuard('north', null, BY_HAND);
    return [];
  });
  assert.equal(answer.type, 'silent');
});

test('ranges of steps are written as the program takes them', () => {
  const text = '1-3,7,9-10';
  assert.deepEqual(parseSteps(text), [1, 2, 3, 7, 9, 10]);
  assert.equal(formatSteps(parseSteps(text)), text);
  assert.throws(() => parseSteps('3-x'), RangeError);
});

test('shrinking leaves the steps that matter', async () => {
  const play = async (spec: { readonly steps: readonly number[] }): Promise<RunResult> => {
    const isBad = spec.steps.includes(4) && spec.steps.includes(17);
    const violations = isBad ? ['4 and 17 together'] : [];
    return { violations, failedAt: isBad ? 20 : null, log: [], operations: 0, faults: 0 };
  };
  const spec = { seed: 1, steps };
  const shrunk = await shrinkRun(spec, await play(spec), { play, mayGoOn: () => true });
  assert.deepEqual(shrunk.steps, [4, 17]);
});
