/**
 * Failover of a guest that serves. Its ledger is the witness: each record covers the one before, so what it
 * finds at boot tells exactly which of the source's writes are there.
 */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { jobSchema } from '../../src/contract/job.ts';
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import { type ReplicaAnswer, replicaSchema } from '../../src/contract/replica.ts';
import {
  type LedgerWatch,
  type RecordBounds,
  watchLedger,
} from '../../src/main/demo/ledger-watch.ts';
import { run } from '../../src/rig/command.ts';
import {
  getJson,
  type LedgerState,
  parseLedgerRecord,
  parseLedgerState,
  waitForLedger,
} from '../../src/rig/ledger-client.ts';
import { findFreePort, forwardGuestPort } from '../../src/rig/port-forward.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until, untilTrue } from '../../src/rig/until.ts';
import { conditionNames, preview, refused, succeed, timesOf } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('failover of a guest that serves', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  let watch: LedgerWatch;
  /** Where the replica of a guest without an agent answers. */
  let answerPort: number;
  const ending = new AbortController();
  const taken: { readonly point: PointAnswer; readonly bounds: RecordBounds }[] = [];

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({
      name: 'served',
      disks: [{ content: 'system' }, { content: 'blank', sizeBytes: 128 * 1024 ** 2 }],
    });
    await vm.start();
    answerPort = await findFreePort();
    const answers = `http:127.0.0.1:${answerPort}/`;
    protection = await stage.protect(vm.name, ['--keep', '4', '--answers', answers]);
    await vm.waitForHttp({ deadlineMs: 120_000 });
    watch = await watchLedger(vm, ending.signal);
  });
  after(async () => {
    ending.abort();
    await watch?.stop();
    await stage?.[Symbol.asyncDispose]();
  });

  test('points are taken while the ledger is written', async () => {
    for (let round = 0; round < 2; round++) {
      await watch.untilWritten(20);
      taken.push(await takePoint());
    }
    const [first, second] = taken;
    assert.ok(first && second && first.bounds.atMost < second.bounds.atLeast);
  });

  test('the replica at rest has the identity of the source, and cannot be started by hand', async () => {
    const replica = await stage.replica(protection);
    assert.equal(replica.targetVmId, vm.uuid);
    const domain = ['--domain', vm.uuid];
    assert.equal((await stage.recovery.virsh(['domname', vm.uuid])).trim(), 'served-replica');
    const xml = await stage.recovery.virsh(['dumpxml', ...domain]);
    assert.match(xml, new RegExp(`<mac address=["']${vm.macAddress}["']`));
    assert.match(await stage.recovery.virsh(['dominfo', vm.uuid]), /Autostart:\s+disable/);
    await assert.rejects(stage.recovery.virsh(['start', ...domain]), /No such file or directory/);
    assert.equal((await stage.recovery.virsh(['domstate', ...domain])).trim(), 'shut off');
    assert.deepEqual(
      (await stage.ask(['replica', 'list'], z.array(replicaSchema)))[0]?.conditions,
      [],
    );
  });

  test('a dry run tells what it would mean, and changes nothing', async () => {
    const before = await stage.replica(protection);
    const [older, newest] = taken;
    const seen = await preview(stage, before.id);
    assert.equal(seen.pointId, newest?.point.id);
    assert.equal(seen.isNewestPoint, true);
    assert.equal(seen.sourcePower, 'running');
    assert.equal(seen.willConnectNics, false);
    assert.match(seen.connectionBecause, /source VM is running and connected/);
    const ageSeconds = (Date.now() - Date.parse(seen.pointTakenAt)) / 1000;
    assert.ok(Math.abs(seen.pointAgeSeconds - ageSeconds) < 5, `${seen.pointAgeSeconds}`);
    assert.equal(seen.lostSeconds, seen.pointAgeSeconds);
    assert.equal(seen.measuredFailovers, 0);
    assert.equal(seen.refusedBecause, null);
    const fenced = await preview(
      stage,
      before.id,
      '--point',
      older?.point.id ?? '',
      '--fence',
      'nics',
    );
    assert.equal(fenced.isNewestPoint, false);
    assert.equal(fenced.willConnectNics, true);
    assert.match(fenced.fenceConsequence, /disconnected/);
    assert.deepEqual(await stage.replica(protection), before);
    assert.deepEqual(await readdir(join(stage.storageFolder, before.id, 'branches')), []);
    assert.deepEqual(await linksOf(stage.production), ['up']);
  });

  test('it starts disconnected beside a running source, which does not notice', async (t) => {
    const bootBefore = (await vm.ledger()).boot;
    const { id } = await stage.replica(protection);
    const reason = `trial of "${vm.name}"`;
    const operation = await succeed(stage, 'failover', id, '--reason', reason);
    const { pointId, runningAfterMs, answeringAfterMs } = timesOf(operation);
    t.diagnostic(`running after ${runningAfterMs} ms, answering after ${answeringAfterMs} ms`);
    assert.equal(pointId, taken[1]?.point.id);
    assert.ok(answeringAfterMs !== null && answeringAfterMs > runningAfterMs);
    const replica = await stage.replica(protection);
    assert.equal(replica.phase, 'Failover');
    assert.equal(replica.failover?.reason, reason);
    assert.equal(replica.failover?.isConnected, false);
    assert.match(replica.failover?.connectionBecause ?? '', /source VM is running and connected/);
    assert.equal(replica.failover?.runningAfterMs, runningAfterMs);
    assert.equal(replica.failover?.answeringAfterMs, answeringAfterMs);
    assert.deepEqual(conditionNames(replica), []);
    assert.deepEqual(await linksOf(stage.recovery), ['down']);
    assert.deepEqual(await linksOf(stage.production), ['up']);
    const source = await watch.next();
    assert.equal((await vm.ledger()).boot, bootBefore);
    await watch.untilWritten(5);
    assert.ok(watch.last.seq > source.seq);
  });

  test('what its phase does not allow is refused with what it does', async () => {
    const { id } = await stage.replica(protection);
    const allowed = /Allowed now: undo-failover, permanent-failover/;
    await refused(stage, ['failover', id], 3, allowed);
    await refused(stage, ['replica', 'delete', id], 3, allowed);
    await refused(stage, ['job', 'run', protection.job], 3, allowed);
    const seen = await stage.attempt(['failover', id, '--dry-run', '-o', 'json']);
    assert.equal(seen.exitCode, 3);
    assert.match(JSON.parse(seen.stdout).refusedBecause, /Failover/);
    await refused(stage, ['failover', 'nobody'], 4, /no replica nobody/i);
    await refused(stage, ['undo-failover', id, '--fence', 'x'], 2, /unknown option/);
    await refused(stage, ['failover', id, '--fence', 'prayer'], 2, /prayer/);
  });

  test('of two undos at once one is refused, and the source is left alone', async () => {
    const { id } = await stage.replica(protection);
    const outcomes = await Promise.all([
      stage.attempt(['undo-failover', id]),
      stage.attempt(['undo-failover', id]),
    ]);
    const codes = outcomes.map(({ exitCode }) => exitCode).toSorted();
    assert.deepEqual(codes, [0, 3], JSON.stringify(outcomes));
    await requireReadyAgain();
    assert.equal(await vm.state(), 'running');
    await watch.untilWritten(5);
    assert.equal(watch.longestSilenceMs < 10_000, true, `${watch.longestSilenceMs} ms`);
  });

  test('with its NICs cut off, the source gives way; the older point holds exactly its records', async () => {
    const [older] = taken;
    assert.ok(older);
    const { service } = await failOver('--point', older.point.id, '--fence', 'nics');
    await requireRecords(service, older.bounds);
    assert.deepEqual(await linksOf(stage.production), ['down']);
    assert.deepEqual(await linksOf(stage.recovery), ['up']);
    assert.equal(await vm.state(), 'running');
    const replica = await requireFenced('nics');
    await succeed(stage, 'undo-failover', replica.id);
    await requireReadyAgain();
    assert.deepEqual(await linksOf(stage.production), ['up']);
    await watch.untilWritten(5);
  });

  test('the next point is incremental; its guest has no agent any more', async () => {
    const channel = join(stage.folder, 'channel.xml');
    const target = '<target type="virtio" name="org.qemu.guest_agent.0"/>';
    await writeFile(channel, `<channel type="unix">${target}</channel>`);
    const domain = ['--domain', vm.uuid];
    await stage.production.virsh(['detach-device', ...domain, '--file', channel, '--config']);
    const next = await takePoint();
    assert.deepEqual(
      next.point.disks.map(({ transfer }) => transfer),
      ['incremental', 'incremental'],
    );
    taken.push(next);
  });

  test('shut down, the source gives way; nothing of what it had acknowledged at the point is missing', async () => {
    const newest = taken.at(-1);
    assert.ok(newest);
    await watch.stop();
    const [{ service, operation }] = await Promise.all([
      failOver('--fence', 'shutdown'),
      until('the address of the replica is there', openAnswerPort),
    ]);
    assert.equal(timesOf(operation).pointId, newest.point.id);
    const { failover } = await stage.replica(protection);
    assert.equal(failover?.answeredBy, `http:127.0.0.1:${answerPort}/`);
    const { runningAfterMs, answeringAfterMs } = timesOf(operation);
    assert.ok(answeringAfterMs !== null && answeringAfterMs > runningAfterMs);
    await requireRecords(service, newest.bounds);
    assert.equal(await vm.state(), 'shut off');
    await requireFenced('shutdown');
  });

  test('made permanent while it runs, it is an ordinary VM of its own', async () => {
    const replica = await stage.replica(protection);
    const other = await stage.attempt([
      ...['job', 'create', 'other', '--source', 'production', '--target', 'production'],
      ...['--vm', vm.name, '--no-schedule', '--suffix', '-beside'],
    ]);
    assert.equal(other.exitCode, 0, other.stderr);
    const pid = stage.recovery.qemuPid(vm.uuid);
    const url = await forwardGuestPort({ host: stage.recovery, domain: vm.uuid });
    const service = await watchLedger({ ledger: () => ledgerAt(url) }, ending.signal);
    const boot = (await ledgerAt(url)).boot;
    await succeed(stage, 'permanent-failover', replica.id);
    await service.untilWritten(5);
    await service.stop();
    assert.ok(service.longestSilenceMs < 5000, `silent for ${service.longestSilenceMs} ms`);
    const state = await ledgerAt(url);
    assert.deepEqual([state.boot, state.errors], [boot, 0]);
    assert.equal(stage.recovery.qemuPid(vm.uuid), pid);
    await requireIndependent(replica);
    await requireUnprotected(replica);
    await restart(state);
  });

  async function takePoint(): Promise<(typeof taken)[number]> {
    const operation = await stage.tryReplicate(protection);
    assert.equal(operation.state, 'succeeded', describe(operation));
    const point = (await stage.points(protection)).at(-1);
    assert.ok(point);
    const at = (type: string) =>
      Date.parse(
        operation.history.find((event) => event.step === 'freeze' && event.type === type)?.at ?? '',
      );
    await watch.next();
    return { point, bounds: watch.bounds(at('step-started'), at('step-succeeded')) };
  }

  async function failOver(
    ...args: readonly string[]
  ): Promise<{ service: Service; operation: OperationDetailAnswer }> {
    const { id } = await stage.replica(protection);
    const operation = await succeed(stage, 'failover', id, ...args);
    const url = await forwardGuestPort({ host: stage.recovery, domain: vm.uuid });
    return {
      operation,
      service: { url, state: await waitForLedger(url, { deadlineMs: 120_000 }) },
    };
  }

  /** Undefined until the replica runs. */
  function openAnswerPort(): Promise<string | undefined> {
    const place = { host: stage.recovery, domain: vm.uuid, port: answerPort };
    return forwardGuestPort(place).catch(() => undefined);
  }

  /** No record is missing, none is there that was written later, and each is the source's own. */
  async function requireRecords({ url, state }: Service, bounds: RecordBounds): Promise<void> {
    assert.equal(state.errors, 0);
    const found = state.verified;
    assert.ok(found >= bounds.atLeast, `${found} records, at least ${bounds.atLeast} expected`);
    assert.ok(found <= bounds.atMost, `${found} records, at most ${bounds.atMost} expected`);
    const known = parseLedgerRecord(await getJson(`${url}/record/${bounds.atLeast - 1}`));
    assert.equal(known.sum, bounds.before.sum);
  }

  async function requireFenced(fence: string): Promise<ReplicaAnswer> {
    const replica = await stage.replica(protection);
    assert.equal(replica.phase, 'Failover');
    assert.equal(replica.failover?.fence, fence);
    assert.equal(replica.failover?.isConnected, true);
    assert.deepEqual(conditionNames(replica), []);
    return replica;
  }

  async function requireReadyAgain(): Promise<void> {
    const replica = await stage.replica(protection);
    assert.equal(replica.phase, 'Ready');
    assert.equal(replica.newestPointId, taken.at(-1)?.point.id);
    assert.equal(stage.recovery.qemuPid(vm.uuid), undefined);
    const listed = await stage.points(protection);
    assert.deepEqual(
      listed,
      taken.map(({ point }) => point),
    );
  }

  /** `up` or `down` per NIC, as libvirt says. */
  async function linksOf(host: Stage['production']): Promise<readonly string[]> {
    const answer = await host.virsh([
      'domif-getlink',
      '--domain',
      vm.uuid,
      '--interface',
      vm.macAddress,
    ]);
    return answer.trim().split(' ').slice(-1);
  }

  async function requireIndependent({ id }: ReplicaAnswer): Promise<void> {
    const rows = await stage.recovery.virsh(['domblklist', '--details', '--domain', vm.uuid]);
    const paths = rows
      .split('\n')
      .flatMap((row) => /^\s*file\s+disk\s+\S+\s+(\S.*)$/.exec(row)?.[1] ?? []);
    assert.equal(paths.length, 2);
    for (const path of paths) {
      const info = JSON.parse(await run('qemu-img', ['info', '-U', '--output=json', '--', path]));
      assert.equal(info['backing-filename'], undefined);
    }
    const folder = join(stage.storageFolder, id);
    for (const name of ['points', 'layers']) {
      assert.deepEqual(await readdir(join(folder, name)).catch(() => []), [], name);
    }
    assert.equal((await readdir(join(folder, 'branches'))).length, 1);
  }

  /** Gone from the list, and the source from every job that had it. */
  async function requireUnprotected({ id }: ReplicaAnswer): Promise<void> {
    const listed = await stage.ask(['replica', 'list'], z.array(replicaSchema));
    assert.ok(!listed.some((replica) => replica.id === id));
    const shown = await stage.ask(['replica', 'show', id], replicaSchema);
    assert.deepEqual([shown.phase, shown.allowedOperations], ['Permanent', []]);
    for (const job of [protection.job, 'other']) {
      const { vms } = await stage.ask(['job', 'show', job], jobSchema);
      assert.match(vms[0]?.excludedBecause ?? '', /made permanent/);
      await refused(stage, ['job', 'run', job], 3, /excluded/);
    }
    await refused(stage, ['undo-failover', id], 3, /Allowed now: nothing/);
  }

  async function restart(before: LedgerState): Promise<void> {
    const domain = ['--domain', vm.uuid];
    await stage.recovery.virsh(['shutdown', ...domain, '--mode', 'acpi']);
    const state = async () => (await stage.recovery.virsh(['domstate', ...domain])).trim();
    await untilTrue('the VM is off', async () => (await state()) === 'shut off');
    await stage.recovery.virsh(['start', ...domain]);
    const url = await until('a port is forwarded', () =>
      forwardGuestPort({ host: stage.recovery, domain: vm.uuid }),
    );
    const again = await waitForLedger(url, { deadlineMs: 120_000 });
    assert.equal(again.boot, before.boot + 1);
    assert.equal(again.errors, 0);
    assert.ok(again.verified >= before.seq);
  }
});

type Service = { readonly url: string; readonly state: LedgerState };

async function ledgerAt(url: string): Promise<LedgerState> {
  return parseLedgerState(await getJson(`${url}/`));
}
