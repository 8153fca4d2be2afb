/** What is found out about VMs before a job protects them: at their host, at the target, of the room there, and of when runs may begin. */
import type { Host } from '../../domain/host/host.ts';
import { roomFinding } from '../../domain/host/storage-room.ts';
import type { VmId } from '../../domain/ids.ts';
import { windowFinding } from '../../domain/replication/openings.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CreateJob, VmFindings } from '../../ports/controller.ts';
import type { ControllerPorts } from './controller-ports.ts';

export type PlannedJob = {
  readonly source: Host;
  readonly target: Host;
  readonly vms: readonly VmSummary[];
  readonly request: Pick<CreateJob, 'networkMap' | 'windows' | 'rpoSeconds' | 'isScheduled'>;
};

export async function preflightJob(
  ports: ControllerPorts,
  planned: PlannedJob,
  options: CallOptions,
): Promise<readonly VmFindings[]> {
  const { source, target, vms, request } = planned;
  const from = await ports.hosts.ports(source.id);
  const to = await ports.hosts.ports(target.id);
  const ofRoom = await roomFindings(ports, planned, options);
  const all: VmFindings[] = [];
  for (const vm of vms) {
    const description = await from.hypervisor.vm(vm.id, options);
    const ofTarget = { source: description, networkMap: request.networkMap };
    const findings = [
      ...(await from.hypervisor.preflightSource(vm.id, options)),
      ...(await to.hypervisor.preflightTarget(ofTarget, options)),
      ...(ofRoom.get(vm.id) ?? []),
      // Of the job, and said once.
      ...(vm === vms[0] ? windowFindings(request) : []),
    ];
    all.push({ vm, findings });
  }
  return all;
}

function windowFindings({ windows = [], rpoSeconds, isScheduled }: PlannedJob['request']) {
  const finding = isScheduled ? windowFinding(windows, rpoSeconds) : null;
  return finding === null ? [] : [finding];
}

/** One after the other: each VM finds what the others of the job leave. */
async function roomFindings(
  ports: ControllerPorts,
  { source, target, vms }: PlannedJob,
  options: CallOptions,
): Promise<ReadonlyMap<VmId, readonly PreflightFinding[]>> {
  const { hypervisor } = await ports.hosts.ports(source.id);
  const { store } = await ports.hosts.ports(target.id);
  const room = await store.room(options);
  const there = await withPoints(ports, source, target);
  const findings = new Map<VmId, readonly PreflightFinding[]>();
  let othersBytes = 0;
  for (const { id } of vms) {
    const neededBytes = there.has(id) ? null : await hypervisor.allocatedBytes(id, options);
    if (neededBytes === null) continue;
    const finding = roomFinding(target, room, { neededBytes, othersBytes });
    if (finding !== null) findings.set(id, [finding]);
    othersBytes += neededBytes;
  }
  return findings;
}

/** VMs that have restore points on that target already: a new job goes on from them. */
async function withPoints(
  { catalog }: ControllerPorts,
  source: Host,
  target: Host,
): Promise<ReadonlySet<VmId>> {
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  const there = replicas.filter(
    ({ sourceHostId, targetHostId, newestPointId, phase }) =>
      sourceHostId === source.id &&
      targetHostId === target.id &&
      newestPointId !== null &&
      phase !== 'Removed' &&
      phase !== 'Permanent',
  );
  return new Set(there.map(({ sourceVmId }) => sourceVmId));
}
