/** What is found out about VMs before a job protects them: at their host, at the target, of the room there, and of when runs may begin. */
import type { Host } from '../../domain/host/host.ts';
import { roomFinding } from '../../domain/host/storage-room.ts';
import type { VmId } from '../../domain/ids.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import { windowFinding } from '../../domain/replication/openings.ts';
import { unusedNetworkFindings } from '../../domain/vm/network-map.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CreateJob, VmFindings } from '../../ports/job-orders.ts';
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
  const kept = await keptReplicas(ports, source, target);
  const described = [];
  for (const vm of vms) {
    described.push({ vm, description: await from.hypervisor.vm(vm.id, options) });
  }
  const networks = described.flatMap(({ description }) =>
    description.nics.map(({ network }) => network),
  );
  const all: VmFindings[] = [];
  for (const { vm, description } of described) {
    const standInId = kept.find(({ sourceVmId }) => sourceVmId === vm.id)?.targetVmId ?? null;
    const ofTarget = { source: description, standInId, networkMap: request.networkMap };
    const findings = [
      ...(await from.hypervisor.preflightSource(vm.id, options)),
      ...(await to.hypervisor.preflightTarget(ofTarget, options)),
      ...(ofRoom.get(vm.id) ?? []),
      // Of the job, and said once.
      ...(vm === vms[0] ? jobFindings(planned, networks) : []),
    ];
    all.push({ vm, findings });
  }
  return all;
}

function jobFindings({ source, target, request }: PlannedJob, networks: readonly string[]) {
  const { windows = [], rpoSeconds, isScheduled, networkMap } = request;
  const ofWindows = isScheduled ? windowFinding(windows, rpoSeconds) : null;
  return [
    ...(ofWindows === null ? [] : [ofWindows]),
    ...(source.id === target.id ? [SAME_HOST] : []),
    ...unusedNetworkFindings(networkMap, networks),
  ];
}

const SAME_HOST: PreflightFinding = {
  severity: 'warns',
  element: 'host',
  message:
    'Source and target are the same host: what takes the VM along with its host takes the replica, too.',
};

/** One after the other: each VM finds what the others of the job leave. */
async function roomFindings(
  ports: ControllerPorts,
  { source, target, vms }: PlannedJob,
  options: CallOptions,
): Promise<ReadonlyMap<VmId, readonly PreflightFinding[]>> {
  const { hypervisor } = await ports.hosts.ports(source.id);
  const { store } = await ports.hosts.ports(target.id);
  const room = await store.room(options);
  const kept = await keptReplicas(ports, source, target);
  // A new job goes on from their restore points.
  const there = new Set(
    kept.filter(({ newestPointId }) => newestPointId !== null).map(({ sourceVmId }) => sourceVmId),
  );
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

/** Replicas of that source on that target, which a new job takes over. */
async function keptReplicas(
  { catalog }: ControllerPorts,
  source: Host,
  target: Host,
): Promise<readonly Replica[]> {
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  return replicas.filter(
    ({ sourceHostId, targetHostId, phase }) =>
      sourceHostId === source.id &&
      targetHostId === target.id &&
      phase !== 'Removed' &&
      phase !== 'Permanent',
  );
}
