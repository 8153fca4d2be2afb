import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GUARD_VIEW } from '../../api/testing/sample-values.ts';
import { openServedRoom } from '../testing/cli-room.ts';

const STATES = [
  ['active', 0],
  ['dormant', 1],
  ['absent', 1],
  ['unproved', 1],
] as const;

test('only a guard that was seen to work is exit code 0 of show', async (t) => {
  const { run, fake } = await openServedRoom(t);
  for (const [state, code] of STATES) {
    fake.answers.guard = { ...GUARD_VIEW, state };
    const shown = await run('guard show a -o json');
    assert.equal(shown.code, code, state);
    assert.equal(JSON.parse(shown.out).state, state);
  }
});

test('an installation that libvirt has still to notice is done, and says how to go on', async (t) => {
  const { run, fake } = await openServedRoom(t);
  for (const [state] of STATES) {
    fake.answers.installGuard = { ...GUARD_VIEW, state };
    const { code, err } = await run('guard install a -o json');
    assert.equal(code, 0);
    const says =
      'Installed, but not seen to work yet: it holds nothing before `understudy guard show';
    assert.equal(err.startsWith(says), state !== 'active', err);
  }
});
