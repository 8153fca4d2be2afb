/** The hook as libvirt runs it: with the VM's name, the operation, and the definition on stdin. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { replicaId, vmId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { readGuards, removeGuard, writeGuard } from './guard-files.ts';
import { hookPlaces, installHook, isHookInstalled, removeHook } from './guard-hook.ts';
import { createLibvirtStartGuard } from './start-guard.ts';
import type { Virsh } from './virsh.ts';

const HELD = vmId('11111111-2222-4333-8444-555555555555');
const FREE = vmId('99999999-2222-4333-8444-555555555555');
const REASON = `web is kept: $(touch pwned) \`id\` "x" \\n %s ü`;
const GUARD = {
  vmId: HELD,
  replicaId: replicaId('rp-1'),
  epoch: 3,
  since: instant(1_700_000_000_000),
  reason: REASON,
};

async function installed(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'us hook-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const places = hookPlaces(folder);
  await installHook(places);
  return { folder, places, guards: places.guardsFolder };
}

function xml(uuid: string, more = ''): string {
  return `<domain type='kvm' id='3'>\n  <name>web &lt;uuid&gt;${FREE}&lt;/uuid&gt;</name>\n  <uuid>${uuid}</uuid>\n${more}</domain>\n`;
}

function call(hook: string, stdin: string, operation = 'prepare', name = 'web') {
  const run = spawnSync(hook, [name, operation, 'begin', '-'], { input: stdin, encoding: 'utf8' });
  return { status: run.status, said: run.stderr, out: run.stdout };
}

test('it refuses the start of a held VM with the reason, word for word, and of no other', async (t) => {
  const { folder, places, guards } = await installed(t);
  await writeGuard(guards, GUARD);
  const refused = call(places.hookPath, xml(HELD));
  assert.deepEqual(refused, { status: 1, said: `understudy: ${REASON}\n`, out: '' });
  assert.equal(call(places.hookPath, xml(FREE)).status, 0);
  assert.ok(!existsSync('pwned') && !existsSync(join(folder, 'pwned')));
  await removeGuard(guards, GUARD);
  assert.equal(call(places.hookPath, xml(HELD)).status, 0);
});

test('a UUID that stands elsewhere in the definition neither frees a held VM nor holds another', async (t) => {
  const { places, guards } = await installed(t);
  await writeGuard(guards, GUARD);
  const feigned = (uuid: string) =>
    `  <metadata>\n    <x:y xmlns:x='z'>\n  <uuid>${uuid}</uuid>\n</x:y>\n<![CDATA[\n  <uuid>${uuid}</uuid>\n]]></metadata>\n`;
  assert.equal(call(places.hookPath, xml(HELD, feigned(FREE))).status, 1);
  assert.equal(call(places.hookPath, xml(FREE, feigned(HELD))).status, 0);
});

test('whatever is wrong, a VM that is not held starts', async (t) => {
  const { places, guards } = await installed(t);
  await writeGuard(guards, GUARD);
  for (const broken of ['', '<domain/>', xml('../x'), xml('*'), xml(''), '\0\n'.repeat(9)]) {
    assert.equal(call(places.hookPath, broken).status, 0, broken);
  }
  const long = `  <description>${'x'.repeat(300_000)}</description>\n`;
  assert.equal(call(places.hookPath, xml(FREE, long)).status, 0);
  assert.equal(call(places.hookPath, xml(HELD, long)).status, 1);
  rmSync(guards, { recursive: true });
  assert.equal(call(places.hookPath, xml(HELD)).status, 0);
});

test('only a start is refused: a VM that runs when the daemon comes back is left alone', async (t) => {
  const { places, guards } = await installed(t);
  await writeGuard(guards, GUARD);
  for (const operation of ['start', 'started', 'stopped', 'release', 'reconnect', 'migrate']) {
    assert.equal(call(places.hookPath, xml(HELD), operation).status, 0, operation);
  }
  for (const name of ['prepare', '-n', '$(exit 3)', '../../x']) {
    assert.equal(call(places.hookPath, xml(HELD), 'release', name).status, 0);
    assert.equal(call(places.hookPath, xml(HELD), 'prepare', name).status, 1);
  }
});

test('a guard that was damaged holds all the same, is told, and gives way to a whole one', async (t) => {
  const { places, guards } = await installed(t);
  writeFileSync(join(guards, `${HELD}.rp-1`), '');
  assert.match(call(places.hookPath, xml(HELD)).said, /kept from starting/);
  assert.deepEqual((await readGuards(guards))?.[0]?.epoch, 0);
  await writeGuard(guards, GUARD);
  assert.deepEqual(await readGuards(guards), [GUARD]);
});

test('a hook that may not be run is not installed, as libvirt passes it over', async (t) => {
  const { places } = await installed(t);
  chmodSync(places.hookPath, 0o644);
  assert.equal(await isHookInstalled(places), false);
  await installHook(places);
  assert.equal(await isHookInstalled(places), true);
});

test('what is no file holds nobody, and hides no guard', async (t) => {
  const { places, guards } = await installed(t);
  await writeGuard(guards, GUARD);
  mkdirSync(join(guards, `${FREE}.rp-2`));
  assert.equal(call(places.hookPath, xml(FREE)).status, 0);
  assert.deepEqual(await readGuards(guards), [GUARD]);
});

test('what a killed writer left behind holds nobody', async (t) => {
  const { places, guards } = await installed(t);
  writeFileSync(join(guards, `.new-${HELD}.rp-1`), 'half');
  assert.equal(call(places.hookPath, xml(HELD)).status, 0);
  assert.deepEqual(await readGuards(guards), []);
});

test('an older hook is brought up to date; removed, nothing of it stays', async (t) => {
  const { folder, places, guards } = await installed(t);
  writeFileSync(places.hookPath, '#!/bin/sh\nexit 0\n');
  assert.equal(await isHookInstalled(places), false);
  await installHook(places);
  assert.equal(await isHookInstalled(places), true);
  await writeGuard(guards, GUARD);
  await removeHook(places);
  await removeHook(places);
  assert.equal(await isHookInstalled(places), false);
  assert.equal(await readGuards(guards), null);
  assert.ok(existsSync(join(folder, 'qemu.d')), 'other hooks may lie there');
});

test('a session daemon and another machine are refused; without a folder of its own, nothing is touched', async (t) => {
  const { folder } = await installed(t);
  const never = () => Promise.reject(new Error('libvirt is not asked'));
  const options = { signal: new AbortController().signal };
  for (const [uri, isRefused] of [
    ['qemu:///session', true],
    ['qemu+unix:///session?socket=/x', true],
    ['qemu+ssh://root@far/system', true],
    ['qemu+unix:///system?socket=/session', false],
    ['qemu:///system', false],
  ] as const) {
    const virsh = { uri, hostName: 'lab', run: never };
    const install = createLibvirtStartGuard({ virsh, hooksFolder: folder, traits: never }).install(
      options,
    );
    if (isRefused) await assert.rejects(install, { code: 'guard-refused' });
    else await install;
    const none = createLibvirtStartGuard({ virsh, hooksFolder: null, traits: never });
    await none.remove(options);
    await none.release(GUARD, options);
    assert.deepEqual([await none.held(options), (await none.prove(options)).state], [[], 'absent']);
    await assert.rejects(none.hold(GUARD, options), { code: 'guard-absent' });
  }
});

test('a probe that a killed process left running does not make the guard look dormant', async (t) => {
  const { folder } = await installed(t);
  let isLeft = true;
  const run: Virsh['run'] = async ([action]) => {
    if (action === 'destroy') {
      if (!isLeft) throw new UnderstudyError('vm-missing', { vm: 'probe', host: 'lab' });
      isLeft = false;
      return '';
    }
    const reason = "domain 'understudy-guard-probe' already exists";
    if (isLeft) throw new UnderstudyError('hypervisor-refused', { action: 'create', reason });
    throw new UnderstudyError('start-held', { vm: 'probe', host: 'lab', reason: 'a test' });
  };
  const guard = createLibvirtStartGuard({
    virsh: { uri: 'qemu:///system', hostName: 'lab', run },
    hooksFolder: folder,
    traits: async () => ({ machines: [], domainType: 'qemu' }),
  });
  const { state } = await guard.prove({ signal: new AbortController().signal });
  assert.equal(state, 'active');
});
