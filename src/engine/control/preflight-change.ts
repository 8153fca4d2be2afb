/**
 * What is found out before a job is changed. The VMs are taken as their newest restore points have them, because that is what
 * a failover defines, and because the source may be gone when somebody has to set a network right.
 */
import { asUnderstudyError } from '../../domain/error.ts';
import type { HostId } from '../../domain/ids.ts';
import type { Job, ProtectedVm } from '../../domain/job/job.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import { windowFinding } from '../../domain/replication/openings.ts';
import { pointsToRetire } from '../../domain/restore-point/retention.ts';
import { unusedNetworkFindings } from '../../domain/vm/network-map.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { HypervisorView } from '../../ports/hypervisor.ts';
import type { VmFindings } from '../../ports/job-orders.ts';
import { withDeadline } from '../deadline.ts';
import type { ControllerPorts } from './controller-ports.ts';

/** A dry run must not wait for a host that hangs. */
const ANSWER_MS = 10_000;

type Planned = {
  readonly before: Job;
  readonly after: Job;
  /** Of the job. */
  readonly replicas: readonly Replica[];
};

/** `isBlocked`: the change itself makes something impossible that was possible before. */
export async function preflightChange(
  ports: ControllerPorts,
  planned: Planned,
  options: CallOptions,
): Promise<{ readonly findings: readonly VmFindings[]; readonly isBlocked: boolean }> {
  const vms = planned.after.vms.filter(({ excludedBecause }) => excludedBecause === null);
  const ofNetworks = await networkFindings(ports, planned, vms, options);
  const findings: VmFindings[] = [];
  for (const vm of vms) {
    const found = [
      // Of the job, and said once.
      ...(vm === vms[0] ? [...windowFindings(planned), ...ofNetworks.ofJob] : []),
      ...(ofNetworks.ofVms.get(vm.vmId) ?? []),
      ...(await retentionFindings(ports, planned, vm)),
    ];
    const { vmId: id, name } = vm;
    if (found.length > 0) findings.push({ vm: { id, name, power: 'unknown' }, findings: found });
  }
  const isBlocked = [...ofNetworks.ofVms.values()].flat().some(blocks);
  return { findings, isBlocked };
}

function windowFindings({ before, after }: Planned): readonly PreflightFinding[] {
  const findingOf = ({ isScheduled, windows, rpoSeconds }: Job) =>
    isScheduled ? windowFinding(windows, rpoSeconds) : null;
  const finding = findingOf(after);
  return finding === null || finding.message === findingOf(before)?.message ? [] : [finding];
}

async function retentionFindings(
  { catalog, clock }: ControllerPorts,
  { before, after, replicas }: Planned,
  { vmId }: ProtectedVm,
): Promise<readonly PreflightFinding[]> {
  const replica = replicas.find(({ sourceVmId }) => sourceVmId === vmId);
  if (replica === undefined) return [];
  const points = await catalog.points(replica.id);
  const now = clock.now();
  const stays = new Set(pointsToRetire(points, before.retention, now));
  const gone = pointsToRetire(points, after.retention, now).filter((id) => !stays.has(id));
  if (gone.length === 0) return [];
  const message = `${gone.length} of the ${points.length} restore points of ${replica.name} go at the end of its next run, which were to be kept; pin those that are to stay (\`understudy point pin\`).`;
  return [{ severity: 'warns', element: 'retention', message }];
}

type NetworkFindings = {
  readonly ofJob: readonly PreflightFinding[];
  readonly ofVms: ReadonlyMap<string, readonly PreflightFinding[]>;
};

async function networkFindings(
  ports: ControllerPorts,
  { before, after, replicas }: Planned,
  vms: readonly ProtectedVm[],
  options: CallOptions,
): Promise<NetworkFindings> {
  const changed = changedNetworks(before, after);
  if (changed.length === 0) return { ofJob: [], ofVms: new Map() };
  const ask = asker(ports, options);
  const ofVms = new Map<string, readonly PreflightFinding[]>();
  const networks: string[] = [];
  for (const { vmId } of vms) {
    const replica = replicas.find(({ sourceVmId }) => sourceVmId === vmId);
    const source =
      (await newestDefinition(ports, replica)) ??
      (await ask(before.sourceHostId, (hypervisor, within) => hypervisor.vm(vmId, within)));
    if (source === null) {
      ofVms.set(vmId, [NOT_ASKED]);
      continue;
    }
    networks.push(...source.nics.map(({ network }) => network));
    const standInId = replica?.targetVmId ?? null;
    const found = await ask(after.targetHostId, async (hypervisor, within) => {
      const of = ({ networkMap }: Job) =>
        hypervisor.preflightTarget({ source, standInId, networkMap }, within);
      const known = new Set((await of(before)).map(({ message }) => message));
      return (await of(after)).filter(({ message }) => !known.has(message));
    });
    ofVms.set(vmId, found ?? [NOT_ASKED]);
  }
  // A host that did not answer has said nothing of what is unused.
  const isAsked = [...ofVms.values()].every((found) => !found.includes(NOT_ASKED));
  const map = Object.fromEntries(changed.map((name) => [name, after.networkMap[name] ?? null]));
  return { ofJob: isAsked ? unusedNetworkFindings(map, networks) : [], ofVms };
}

function changedNetworks({ networkMap: before }: Job, { networkMap: after }: Job) {
  return Object.keys(after).filter(
    (name) => !Object.hasOwn(before, name) || before[name] !== after[name],
  );
}

async function newestDefinition(
  { catalog }: ControllerPorts,
  replica: Replica | undefined,
): Promise<VmDescription | null> {
  const points = replica === undefined ? [] : await catalog.points(replica.id);
  return points.at(-1)?.vm ?? null;
}

const NOT_ASKED: PreflightFinding = {
  severity: 'warns',
  element: 'networks',
  message: 'A host did not answer, so nobody has seen whether the target has these networks.',
};

type Ask = <T>(
  host: HostId,
  question: (hypervisor: HypervisorView, within: CallOptions) => Promise<T>,
) => Promise<T | null>;

/** Null: no answer. A host that gave none is not asked again: one that hangs would be waited for by each VM of the job. */
function asker({ clock, hosts }: ControllerPorts, options: CallOptions): Ask {
  const silent = new Set<HostId>();
  return async (host, question) => {
    if (silent.has(host)) return null;
    const { hypervisor } = await hosts.ports(host);
    try {
      return await withDeadline(clock, ANSWER_MS, options, (signal) =>
        question(hypervisor, { signal }),
      );
    } catch (error) {
      const { kind } = asUnderstudyError(error);
      if (options.signal.aborted || (kind !== 'transient' && kind !== 'cancelled')) throw error;
      silent.add(host);
      return null;
    }
  };
}

function blocks({ severity }: PreflightFinding): boolean {
  return severity === 'blocks';
}
