/** Second part: the source is lost, the replica takes over at an older restore point, and everything is undone. */
import { z } from 'zod';
import { failoverPreviewSchema } from '../../contract/failover.ts';
import { operationSchema } from '../../contract/operation.ts';
import { replicaSchema } from '../../contract/replica.ts';
import { watchLedger } from './ledger-watch.ts';
import { type Protection, takePoint } from './protect.ts';
import { formatSeconds } from './report.ts';
import { type Loss, replicaName, type Scene, type TakenPoint } from './scene.ts';
import { claimAbsent, claimRecords, failOver, type Service } from './take-over.ts';

export async function loseSource(scene: Scene, { watch, points }: Protection): Promise<Loss> {
  const { report, production, vm } = scene;
  report.act(`Disaster: QEMU of ${vm.name} is killed (SIGKILL)`);
  report.say(`kill -9 ${production.qemuPid(vm.uuid)}`);
  await vm.hardKill();
  const atMs = Date.now();
  await watch.stop();
  const lastAnswer = watch.last;
  const newest = points.at(-1);
  if (newest === undefined) throw new Error('There is no restore point');
  report.claim(
    `libvirt on production says: ${await vm.state()}`,
    (await vm.state()) === 'shut off',
  );
  report.say(
    `the source had ${lastAnswer.seq} records; the newest restore point is ` +
      `${formatSeconds(atMs - Date.parse(newest.point.takenAt))} old and lacks ` +
      `${lastAnswer.seq - newest.bounds.atMost} to ${lastAnswer.seq - newest.bounds.atLeast} of them`,
  );
  return { lastAnswer, atMs };
}

/** To the last but one, to show the choice. */
export async function failOverToOlder(
  scene: Scene,
  { points }: Protection,
  loss: Loss,
): Promise<Service> {
  const { report, operator } = scene;
  const [chosen, newest] = points.slice(-2);
  if (chosen === undefined || newest === undefined) throw new Error('There is nothing to choose');
  report.act('Fail over to a restore point that is not the newest');
  const to = ['--point', chosen.point.id];
  await operator.type(['failover', replicaName, ...to, '--dry-run'], (line) =>
    /^(Point|Source|Writes lost|NICs):/.test(line),
  );
  const preview = await operator.ask(
    ['failover', replicaName, ...to, '--dry-run'],
    failoverPreviewSchema,
  );
  report.claim(
    'the dry run sees the source off and an older point, and changes nothing',
    preview.sourcePower === 'off' && !preview.isNewestPoint && (await phaseOf(scene)) === 'Ready',
  );
  report.say(
    `so there must be records 0 to ${chosen.bounds.atLeast - 1}, and none from ${chosen.bounds.atMost} on`,
  );
  const service = await failOver(scene, [...to, '--reason', 'production host lost']);
  await claimRecords(scene, service, chosen);
  await claimAbsent(scene, service, newest.bounds.atLeast - 1);
  await claimAbsent(scene, service, loss.lastAnswer.seq - 1);
  return service;
}

/** Returns how long it took, in ms. */
export async function undo(scene: Scene, service: Service): Promise<number> {
  const { report, operator, recovery } = scene;
  report.act('Undo the failover');
  const begunAt = report.elapsedMs();
  await operator.order(['undo-failover', replicaName], operationSchema);
  const tookMs = report.elapsedMs() - begunAt;
  const replica = await operator.ask(['replica', 'show', replicaName], replicaSchema);
  report.say(`undone after ${formatSeconds(tookMs)}`);
  report.claim(
    'the replica is off and Ready again, and what it wrote is kept aside as an archived branch',
    replica.phase === 'Ready' &&
      replica.archives.length === 1 &&
      recovery.qemuPid(service.vmId) === undefined,
  );
  const verified = await operator.order(['replica', 'verify', replicaName], operationSchema);
  report.claim(
    `all ${replica.pointCount} restore points read back with the hashes they were sealed with`,
    verified.state === 'succeeded',
  );
  return tookMs;
}

/** The source tells whether the replica had told the truth; then it is replicated again. */
export async function resume(scene: Scene, service: Service, loss: Loss): Promise<TakenPoint> {
  const { report, vm, signal } = scene;
  report.act('Start the source again and replicate');
  await vm.start();
  report.meanwhile('the source boots');
  const state = await vm.waitForHttp({ deadlineMs: 120_000 });
  report.claim(
    `the source has all ${loss.lastAnswer.seq} records that it had acknowledged (it has ${state.verified})`,
    state.verified >= loss.lastAnswer.seq && state.errors === 0,
  );
  const head = await vm.ledgerRecord(service.state.verified - 1);
  report.claim(
    `and its record ${head.seq} is the one at which the replica had stood: ${head.sum}`,
    head.sum === service.state.previousSum,
  );
  const watch = await watchLedger(vm, signal);
  try {
    const taken = await takePoint(scene, watch);
    const ledgerDisk = taken.point.disks.at(-1);
    report.claim(
      'the kill had lost the change marks, so hashes decided what to send: only what differs',
      taken.point.disks.every((disk) => disk.transfer === 'resync') &&
        (ledgerDisk?.sentBytes ?? 0) < (ledgerDisk?.sizeBytes ?? 0) / 10,
    );
    await watch.untilWritten(50);
    return taken;
  } finally {
    await watch.stop();
  }
}

async function phaseOf({ operator }: Scene): Promise<string> {
  const phase = z.object({ phase: z.string() });
  return (await operator.ask(['replica', 'show', replicaName], phase)).phase;
}
