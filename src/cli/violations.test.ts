import assert from 'node:assert/strict';
import test from 'node:test';
import { openServedRoom } from './testing/cli-room.ts';
import { violationWords } from './violations.ts';

test('what the server does not accept is named by option and in its unit', async (t) => {
  const { run } = await openServedRoom(t);
  const job = 'job create n --source a --target b --vm v';
  for (const [line, expected] of [
    ['host add a --uri u --storage relative', '--storage: must be an absolute path.'],
    ['host add a --uri u --storage /s --slots 0', '--slots: must be at least 1.'],
    ['failover ', 'replica: must not be empty.'],
    [`${job} --vm `, '--vm: must not be empty.'],
    [`${job} --rpo 1s`, '--rpo: must be at least 1m.'],
    [`${job} --keep 0`, '--keep: must be at least 1.'],
    [`${job} --keep-tier 1d:1h`, '--keep-tier: must reach at least one period back.'],
    [`${job} --limit 1KiB`, '--limit: must be at least 64.0 KiB.'],
    [`${job} --scratch-deadline 0s`, '--scratch-deadline: must be at least 1s.'],
    [`${job} --test-every 1s`, '--test-every: must be at least 10m.'],
    ['planned-failover r --passes 0', '--passes: must be at least 1.'],
    ['operation list --limit 0', '--limit: must be a number from 1 to 9999.'],
  ] as const) {
    const { code, err } = await run(line);
    assert.equal(code, 2, line);
    assert.equal(err, `understudy: ${expected}\n`, line);
  }
});

test('every violation has its line', async (t) => {
  const { run } = await openServedRoom(t);
  const { err } = await run('host add a --uri u --storage relative --slots 0');
  assert.equal(
    err,
    'understudy: --storage: must be an absolute path.\n  --slots: must be at least 1.\n',
  );
});

test('a field without an option keeps its name, and a body as a whole its place', () => {
  assert.equal(violationWords({ path: 'body.name', message: 'is missing' }), 'name: is missing.');
  assert.equal(violationWords({ path: 'body', message: 'has no "x"' }), 'body: has no "x".');
});
