/** First part: two hosts, a job, and restore points of a VM that never stops writing. */
import { z } from 'zod';
import { hostDetailSchema } from '../../contract/host.ts';
import { jobCreatedSchema } from '../../contract/job.ts';
import { pointSchema } from '../../contract/point.ts';
import type { PrivateHost } from '../../rig/private-host.ts';
import { type LedgerWatch, watchLedger } from './ledger-watch.ts';
import { formatMebibytes, formatSeconds } from './report.ts';
import { jobName, replicaName, type Scene, type TakenPoint } from './scene.ts';

const pointCount = 3;
/** Between restore points: about three seconds of a ledger that writes every 20 ms. */
const recordsBetween = 100;

export async function protect(scene: Scene): Promise<void> {
  const { report, operator, production, recovery, vm, folder } = scene;
  report.act('Protect a VM');
  for (const host of [production, recovery]) await addHost(scene, host);
  await operator.type(['vm', 'list', 'production']);
  const args = ['--source', 'production', '--target', 'recovery', '--vm', vm.name];
  const create = ['job', 'create', jobName, ...args, '--keep', '5', '--no-schedule'];
  const { job, findings } = await operator.order(create, jobCreatedSchema);
  for (const { element, message } of findings) report.say(`note on ${element}: ${message}`);
  report.say(
    `job ${job.name} replicates ${vm.name} to ${job.targetHostName}, ${replicaStorage(folder, 'recovery')}`,
  );
}

async function addHost({ report, operator, folder }: Scene, host: PrivateHost): Promise<void> {
  const storage = ['--storage', replicaStorage(folder, host.name)];
  const add = ['host', 'add', host.name, '--uri', host.uri, ...storage];
  const { description } = await operator.order(add, hostDetailSchema);
  report.say(
    `${host.name}: ${description?.hypervisorVersion}, ${description?.emulatorVersion}, ` +
      `acceleration proved by a test boot: ${description?.acceleration}`,
  );
}

function replicaStorage(folder: string, hostName: string): string {
  return `${folder}/replicas-${hostName}`;
}

export type Protection = { readonly points: readonly TakenPoint[]; readonly watch: LedgerWatch };

/** Leaves the watch on: somebody must notice when the VM is lost. */
export async function takePoints(scene: Scene): Promise<Protection> {
  const { report, operator, recovery, vm, signal } = scene;
  report.act(`Take restore points while the ledger of ${vm.name} is written`);
  const watch = await watchLedger(vm, signal);
  const points: TakenPoint[] = [];
  for (let count = 0; count < pointCount; count += 1) {
    points.push(await takePoint(scene, watch));
    report.meanwhile('the ledger goes on');
    await watch.untilWritten(recordsBetween);
  }
  await operator.type(['point', 'list', replicaName]);
  const [first, ...later] = points.map(({ point }) => point);
  report.claim(
    'the first one is full, the later ones hold only what changed',
    first?.disks.every((disk) => disk.transfer === 'full') === true &&
      later.every(({ disks }) => disks.every((disk) => disk.transfer === 'incremental')) &&
      later.every((point) => sentBytes(point) < sentBytes(first) / 2),
  );
  await claimHandStartFails(scene, recovery);
  return { points, watch };
}

/** Replicates once; what the source says before and after its freeze is what the point is held against later. */
export async function takePoint(scene: Scene, watch: LedgerWatch): Promise<TakenPoint> {
  const { report, operator } = scene;
  const begunAt = report.elapsedMs();
  const operation = await operator.replicate(jobName);
  const tookMs = report.elapsedMs() - begunAt;
  const { fromMs, toMs } = await operator.stepTimes(operation.id, 'freeze');
  await watch.next();
  const bounds = watch.bounds(fromMs, toMs);
  const point = (await operator.ask(['point', 'list', replicaName], z.array(pointSchema))).at(-1);
  if (point === undefined) throw new Error('The run made no restore point');
  for (const disk of point.disks) {
    const size = formatMebibytes(disk.sizeBytes);
    report.say(
      `disk ${disk.key} (${size}): ${disk.transfer}, ${formatMebibytes(disk.sentBytes)} sent, because ${disk.because}`,
    );
  }
  report.say(
    `restore point after ${formatSeconds(tookMs)}; by what ${operation.title.replace('Replicate ', '')} said ` +
      `over HTTP it holds at least ${bounds.atLeast} records, at most ${bounds.atMost}`,
  );
  report.claim(
    'the source went on writing meanwhile',
    watch.last.seq > bounds.before.seq && watch.last.askedAt > toMs,
  );
  return { point, bounds };
}

/** The definition points at files that exist in a failover only. */
async function claimHandStartFails({ report, operator }: Scene, host: PrivateHost): Promise<void> {
  const { targetVmId } = await operator.ask(
    ['replica', 'show', replicaName],
    z.object({ targetVmId: z.string() }),
  );
  const complaint = await host.virsh(['start', '--domain', targetVmId]).then(
    () => null,
    (error: unknown) => String(error),
  );
  report.claim(
    'starting the replica by hand is refused and harms nothing',
    complaint !== null && host.qemuPid(targetVmId) === undefined,
  );
}

function sentBytes(point: TakenPoint['point'] | undefined): number {
  return point?.disks.reduce((sum, disk) => sum + disk.sentBytes, 0) ?? 0;
}
