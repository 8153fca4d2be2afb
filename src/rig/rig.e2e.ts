/**
 * Proves the rig itself, on real daemons and VMs: `node --test src/rig/rig.e2e.ts` (about half a minute, as root).
 * Times that matter are printed as diagnostics.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import { run } from './command.ts';
import { ensureGuestImage, type GuestImage } from './guest-image.ts';
import type { LedgerState } from './ledger-client.ts';
import { forwardGuestPort } from './port-forward.ts';
import { type PrivateHost, startPrivateHost } from './private-host.ts';
import { belongsTo, isAlive, listProcesses } from './processes.ts';
import { checkRequirements } from './requirements.ts';
import type { DiskSpec } from './test-disks.ts';
import { createTestVm, type TestVm } from './test-vm.ts';
import { untilTrue } from './until.ts';

const { missing } = checkRequirements();
const lacking = missing.map(({ packageName }) => packageName).join(' ');
const skip = lacking === '' ? false : `needs the packages ${lacking}`;

suite('rig', { skip }, () => {
  let folder = '';
  let image: GuestImage;
  let production: PrivateHost;
  let recovery: PrivateHost;
  let vm: TestVm;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rig-'));
    await chmod(folder, 0o755);
  });
  after(async () => {
    await production?.stop();
    await recovery?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('builds the guest image once', async (t) => {
    image = await timed(t, 'image', () => ensureGuestImage({ log: (line) => t.diagnostic(line) }));
    const again = await timed(t, 'image from the cache', () => ensureGuestImage());
    assert.deepEqual(again, image);
  });

  test('starts two hosts that do not see each other', async (t) => {
    // Short, as a session daemon needs it.
    const start = (name: string) =>
      startPrivateHost({ name, folder: join(folder, name.charAt(0)) });
    production = await timed(t, 'first host', () => start('production'));
    recovery = await timed(t, 'second host', () => start('recovery'));
    assert.notEqual(production.pid, recovery.pid);
    const name = 'both\' "have" <one> & --more';
    const make = (host: PrivateHost) =>
      createTestVm({
        host,
        name,
        folder: join(folder, `vm-${host.name}`),
        image,
        consoleLog: true,
      });
    vm = await make(production);
    const twin = await make(recovery);
    assert.match(await production.virsh(['list', '--all', '--uuid']), new RegExp(vm.uuid));
    assert.doesNotMatch(await production.virsh(['list', '--all', '--uuid']), new RegExp(twin.uuid));
    assert.equal((await production.virsh(['domname', vm.uuid])).trim(), name);
    await twin.undefine();
  });

  test('boots to HTTP with an advancing ledger', async (t) => {
    const state = await timed(t, 'start to HTTP', async () => {
      await vm.start();
      return vm.waitForHttp();
    });
    assert.deepEqual([state.boot, state.verified, state.errors], [1, 0, 0]);
    await advance(vm, state);
    await vm.http('/rate/0');
    const paused = await vm.http('/pause');
    // By the guest's own clock there was time for many records.
    const wouldHaveWritten = async () => (await vm.ledger()).up > Number(paused.up) + 100;
    await untilTrue('the guest was up for longer', wouldHaveWritten);
    assert.equal((await vm.ledger()).seq, paused.seq);
    assert.equal((await vm.ledgerRecord(Number(paused.seq) - 1)).sum, paused.sum);
    await assert.rejects(vm.ledgerRecord(Number(paused.seq)), /404/);
    await vm.http('/resume');
  });

  test('fills a part of the disk with known content', async (t) => {
    await timed(t, 'fill of 64 MiB', () => vm.http('/fill/64/7', { timeoutMs: 60_000 }));
    assert.equal((await vm.http('/check/64/7', { timeoutMs: 60_000 })).right, 64);
    await assert.rejects(vm.http('/check/1/8'), /500/);
    await assert.rejects(vm.http('/fill/4096/1'), /400/);
  });

  test('has a guest agent that freezes and thaws', async () => {
    assert.deepEqual(await vm.agent('guest-ping'), {});
    assert.match(JSON.stringify(await vm.agent('guest-network-get-interfaces')), /10\.0\.2\.15/);
    assert.match(await production.virsh(['domfsinfo', vm.uuid]), /\/\s+vda2\s+ext4\s+vda/);
    await production.virsh(['domfsfreeze', vm.uuid]);
    assert.equal(await vm.agent('guest-fsfreeze-status'), 'frozen');
    assert.equal(await vm.agent('guest-fsfreeze-thaw'), 1);
    assert.equal(await vm.agent('guest-fsfreeze-status'), 'thawed');
  });

  test('runs QEMU as an ordinary user', { skip: process.getuid?.() !== 0 }, async () => {
    const pid = production.qemuPid(vm.uuid);
    assert.equal(pid, production.qemuPid(vm.name));
    const uid = (await run('id', ['-u', 'libvirt-qemu'])).trim();
    assert.match(
      readFileSync(`/proc/${pid}/status`, 'utf8'),
      new RegExp(`^Uid:\\s+${uid}\\s`, 'm'),
    );
  });

  test('a killed daemon leaves the guest running and finds it again', async (t) => {
    const qemu = production.qemuPid(vm.uuid);
    const first = production.pid;
    const state = await vm.ledger();
    await production.killDaemon();
    assert.equal(production.pid, undefined);
    await advance(vm, state);
    await timed(t, 'daemon restart', () => production.restartDaemon());
    assert.notEqual(production.pid, first);
    assert.equal(await vm.state(), 'running');
    assert.equal(production.qemuPid(vm.uuid), qemu);
    const url = await forwardGuestPort({ host: production, domain: vm.uuid });
    assert.equal((await fetch(url)).status, 200);
  });

  for (const mode of ['acpi', 'agent'] as const) {
    test(`shuts down by ${mode} and keeps every record`, async (t) => {
      const { seq, boot } = await vm.ledger();
      await timed(t, `shutdown by ${mode}`, () => vm.shutdown(mode));
      assert.equal(production.qemuPid(vm.uuid), undefined);
      await vm.start();
      const state = await timed(t, 'boot', () => vm.waitForHttp());
      assert.ok(state.verified >= seq);
      assert.deepEqual([state.boot, state.errors], [boot + 1, 0]);
    });
  }

  test('survives a hard kill and a power cut with its chain intact', async (t) => {
    const { seq } = await vm.ledger();
    await vm.hardKill();
    await production.cutPower();
    assert.equal(production.pid, undefined);
    await timed(t, 'power on', () => production.powerOn());
    assert.equal(await vm.state(), 'shut off');
    await vm.start();
    const state = await vm.waitForHttp();
    assert.ok(state.verified >= seq);
    assert.equal(state.errors, 0);
  });

  test('offers raw disks, one disk, and chains', async () => {
    const make = (name: string, disks: DiskSpec[]) =>
      createTestVm({
        host: recovery,
        name,
        folder: join(folder, name),
        image,
        disks,
        guestAgent: false,
      });
    const single = await make('single', [{ content: 'system' }]);
    const chain = await make('chain', [
      { content: 'system', overlays: 2 },
      { content: 'blank', format: 'raw', sizeBytes: 32 * 1024 * 1024 },
    ]);
    const shape = chain.disks.map(({ target, format }) => `${target} ${format}`);
    assert.deepEqual(shape, ['vda qcow2', 'vdb raw']);
    await Promise.all([single.start(), chain.start()]);
    // Half of the 64 MiB file, half of the 32 MiB disk; a record has 4 KiB.
    assert.equal((await single.waitForHttp()).capacity, 8192);
    assert.equal((await chain.waitForHttp()).capacity, 4096);
    for (const vm of [single, chain]) {
      await vm.destroy();
      await vm.destroy();
      await vm.undefine();
    }
  });

  test('stopping leaves nothing behind', async (t) => {
    const pids = [production.pid, production.qemuPid(vm.uuid), recovery.pid];
    await timed(t, 'stop', () => production.stop());
    await recovery.stop();
    await recovery.stop();
    for (const pid of pids) assert.ok(pid !== undefined && !isAlive(pid), `process ${pid}`);
    const left = listProcesses().filter((pid) => pid !== process.pid && belongsTo(pid, folder));
    assert.deepEqual(left, []);
    assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(folder));
    assert.equal(existsSync(production.folder), false);
    assert.deepEqual((await readdir(folder)).sort(), [
      'chain',
      'single',
      'vm-production',
      'vm-recovery',
    ]);
  });
});

async function timed<T>(t: TestContext, what: string, action: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await action();
  t.diagnostic(`${what}: ${Math.round(performance.now() - start)} ms`);
  return result;
}

async function advance(vm: TestVm, from: LedgerState): Promise<void> {
  await untilTrue('the ledger goes on', async () => (await vm.ledger()).seq > from.seq);
}
