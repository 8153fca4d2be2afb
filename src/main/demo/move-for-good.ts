/** Last part: the replica takes over at the newest point and becomes an ordinary VM. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { jobSchema } from '../../contract/job.ts';
import { operationSchema } from '../../contract/operation.ts';
import { replicaSchema } from '../../contract/replica.ts';
import { run } from '../../rig/command.ts';
import { getJson, parseLedgerState } from '../../rig/ledger-client.ts';
import { formatSeconds } from './report.ts';
import { jobName, replicaName, type Scene, type TakenPoint } from './scene.ts';
import { claimRecords, failOver, type Service } from './take-over.ts';

export async function failOverToNewest(scene: Scene, newest: TakenPoint): Promise<Service> {
  const { report, vm } = scene;
  report.act('Fail over once more, to the newest point; the source is shut down first');
  const service = await failOver(scene, ['--point', 'latest', '--fence', 'shutdown']);
  await claimRecords(scene, service, newest);
  report.claim('the source is off: one machine serves', (await vm.state()) === 'shut off');
  return service;
}

/** Returns how long it took, in ms. */
export async function makePermanent(scene: Scene, service: Service): Promise<number> {
  const { report, operator, recovery, signal } = scene;
  report.act('Make it permanent');
  const qemu = recovery.qemuPid(service.vmId);
  const { id } = await operator.ask(['replica', 'show', replicaName], replicaSchema);
  const begunAt = report.elapsedMs();
  const before = parseLedgerState(await getJson(`${service.url}/`, { signal }));
  await operator.order(['permanent-failover', replicaName], operationSchema);
  const tookMs = report.elapsedMs() - begunAt;
  const after = parseLedgerState(await getJson(`${service.url}/`, { signal }));
  report.say(`permanent after ${formatSeconds(tookMs)}`);
  report.claim(
    `it ran on meanwhile: same QEMU, same boot, ledger from ${before.seq} to ${after.seq} records`,
    qemu !== undefined &&
      recovery.qemuPid(service.vmId) === qemu &&
      after.boot === before.boot &&
      after.seq > before.seq &&
      after.errors === 0,
  );
  await claimIndependentDisks(scene, service.vmId);
  await claimEnded(scene, id);
  return tookMs;
}

const imageSchema = z.object({ format: z.string(), 'backing-filename': z.string().optional() });

async function claimIndependentDisks({ report, recovery }: Scene, vmId: string): Promise<void> {
  const rows = (await recovery.virsh(['domblklist', '--details', '--domain', vmId])).split('\n');
  const paths = rows.flatMap((row) => /^\s*file\s+disk\s+\S+\s+(\S.*)$/.exec(row)?.[1] ?? []);
  const images: z.infer<typeof imageSchema>[] = [];
  for (const path of paths) {
    const info = await run('qemu-img', ['info', '--force-share', '--output=json', path]);
    images.push(imageSchema.parse(JSON.parse(info)));
  }
  report.claim(
    `its ${paths.length} disks depend on nothing: qemu-img info names no backing file`,
    images.length === 2 && images.every((image) => image['backing-filename'] === undefined),
  );
}

async function claimEnded({ report, operator, folder }: Scene, replicaId: string): Promise<void> {
  const place = join(folder, 'replicas-recovery', replicaId);
  const left = await readdir(place, { recursive: true }).catch((): string[] => []);
  const replicas = await operator.ask(['replica', 'list'], z.array(replicaSchema));
  report.claim(
    'the restore points are gone, on disk and from the list, and so is the replica',
    !left.some((name) => name.startsWith('points/')) &&
      !left.some((name) => name.startsWith('layers/')) &&
      replicas.every(({ phase }) => phase === 'Permanent'),
  );
  const job = await operator.ask(['job', 'show', jobName], jobSchema);
  report.say(`${job.vms[0]?.name} is excluded from ${job.name}: ${job.vms[0]?.excludedBecause}`);
  const { exitCode } = await operator.attempt(['job', 'run', jobName]);
  report.claim(
    'the old source is protected no more: its job refuses to run',
    job.vms.every(({ excludedBecause }) => excludedBecause !== null) && exitCode !== 0,
  );
}
