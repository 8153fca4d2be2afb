/** Jobs as the API tells them: as they are, as they would be, and what is found out about their VMs. */
import type { JobAnswer, PreflightFindingAnswer } from '../contract/job.ts';
import { UnderstudyError } from '../domain/error.ts';
import { formatAddressProbe } from '../domain/failover/address-probe.ts';
import { formatInstant } from '../domain/instant.ts';
import { formatWindow } from '../domain/replication/window.ts';
import { formatProbe } from '../domain/test-failover/probe.ts';
import type { JobView, VmFindings } from '../ports/job-orders.ts';
import type { Refusal } from './handlers.ts';

export function refusal(job: string, found: readonly VmFindings[]): Refusal {
  const reason = refusedBecause(found).replace(/\.$/, '');
  return {
    refusal: new UnderstudyError('preflight-blocked', { job, reason }),
    findings: findingAnswers(found),
  };
}

export function refusedBecause(found: readonly VmFindings[]): string {
  const all = found.flatMap(({ findings }) => findings);
  const first = all.find(({ severity }) => severity === 'blocks');
  return first === undefined ? 'the preflight failed' : `${first.element}: ${first.message}`;
}

export function findingAnswers(found: readonly VmFindings[]): PreflightFindingAnswer[] {
  return found.flatMap(({ vm, findings }) =>
    findings.map(({ severity, element, message }) => ({
      vmId: vm.id,
      vmName: vm.name,
      severity,
      element,
      message,
    })),
  );
}

export function jobAnswer({ job, replicas, nextRunAt, ...hosts }: JobView): JobAnswer {
  const replicaOf = new Map(replicas.map((replica) => [replica.sourceVmId, replica.id]));
  return {
    id: job.id,
    name: job.name,
    sourceHostId: job.sourceHostId,
    sourceHostName: hosts.sourceHostName,
    targetHostId: job.targetHostId,
    targetHostName: hosts.targetHostName,
    vms: job.vms.map(({ vmId, name, excludedBecause, answersAt = [] }) => ({
      id: vmId,
      name,
      excludedBecause,
      answersAt: answersAt.map(formatAddressProbe),
      replicaId: replicaOf.get(vmId) ?? null,
    })),
    rpoSeconds: job.rpoSeconds,
    isScheduled: job.isScheduled,
    windows: job.windows.map(formatWindow),
    isPaused: job.isPaused,
    nextRunAt: nextRunAt === null ? null : formatInstant(nextRunAt),
    retention: { keepLast: job.retention.keepLast, tiers: [...job.retention.tiers] },
    quiesce: job.quiesce,
    replicaSuffix: job.replicaSuffix,
    networkMap: { ...job.networkMap },
    bytesPerSecondMax: job.bytesPerSecondMax,
    archiveSeconds: job.archiveSeconds,
    scratch: { ...job.scratch },
    testing:
      job.testing === null
        ? null
        : { everySeconds: job.testing.everySeconds, probes: job.testing.probes.map(formatProbe) },
    createdAt: formatInstant(job.createdAt),
  };
}
