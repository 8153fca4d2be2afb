import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mayPass, parentsOf } from './folder-access.ts';
import { accessDenied, parseQemuIdentity } from './scratch-access.ts';

const capabilities = (...models: string[]) =>
  `<capabilities><host>${models.join('')}</host></capabilities>`;
const DAC =
  "<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+108</baselabel><baselabel type='qemu'>+64055:+108</baselabel></secmodel>";
const APPARMOR = '<secmodel><model>apparmor</model><doi>0</doi></secmodel>';

test("QEMU's user comes from the daemon's own security model", () => {
  assert.deepEqual(parseQemuIdentity(capabilities(APPARMOR, DAC)), {
    user: { uid: 64055, gid: 108 },
    confinedBy: ['apparmor'],
  });
  assert.deepEqual(parseQemuIdentity(capabilities()), { user: null, confinedBy: [] });
});

test("a folder is passed by owner, group or others; the owner's bits decide for the owner", () => {
  const user = { uid: 5, gid: 6 };
  assert.ok(mayPass({ mode: 0o711, uid: 0, gid: 0 }, user));
  assert.ok(!mayPass({ mode: 0o710, uid: 0, gid: 0 }, user));
  assert.ok(mayPass({ mode: 0o710, uid: 0, gid: 6 }, user));
  assert.ok(!mayPass({ mode: 0o611, uid: 5, gid: 6 }, user));
  assert.ok(mayPass({ mode: 0o700, uid: 5, gid: 0 }, user));
  assert.ok(mayPass({ mode: 0, uid: 5, gid: 0 }, { uid: 0, gid: 0 }));
});

test('every parent is looked at, the root first', () => {
  assert.deepEqual(parentsOf('/a/b/c'), ['/', '/a', '/a/b']);
});

test('a confined QEMU gets the line that lets it in', () => {
  const identity = { user: { uid: 1, gid: 2 }, confinedBy: ['apparmor'] } as const;
  const error = accessDenied('/srv/scratch', identity, {
    reason: 'Permission denied',
    cause: null,
  });
  assert.match(error.message, /" {2}\/srv\/scratch\/\*\* rwk," to \/etc\/apparmor\.d\/local/);
});
