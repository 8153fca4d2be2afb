import type { JobAnswer, PreflightFindingAnswer } from '../contract/job.ts';
import type { ParsedBody } from '../contract/routes.ts';
import { UnderstudyError } from '../domain/error.ts';
import { formatAddressProbe, parseAddressProbe } from '../domain/failover/address-probe.ts';
import { formatInstant } from '../domain/instant.ts';
import {
  DEFAULT_ARCHIVE_SECONDS,
  DEFAULT_SCRATCH,
  type ScratchPolicy,
  type TestingPolicy,
} from '../domain/job/job.ts';
import { formatWindow, parseWindow } from '../domain/replication/window.ts';
import { DEFAULT_RETENTION } from '../domain/restore-point/retention.ts';
import { formatProbe } from '../domain/test-failover/probe.ts';
import type { Controller } from '../ports/controller.ts';
import type { CreateJob, JobCreation, JobView, VmFindings } from '../ports/job-orders.ts';
import type { Handlers, Refusal } from './handlers.ts';
import { operationAnswer } from './operations.ts';
import { parseProbes } from './tests.ts';

type Verbs =
  | 'createJob'
  | 'listJobs'
  | 'showJob'
  | 'runJob'
  | 'pauseJob'
  | 'resumeJob'
  | 'deleteJob';

const DEFAULT_RPO_SECONDS = 15 * 60;
const DEFAULT_SUFFIX = '-replica';

export function jobHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    createJob: async ({ body, options }) => {
      const creation = await controller.createJob(withDefaults(body), options);
      return creation.type === 'blocked' ? refusal(body.name, creation) : created(creation);
    },
    listJobs: async ({ options }) => ({ items: (await controller.jobs(options)).map(jobAnswer) }),
    showJob: async ({ parameters, options }) =>
      jobAnswer(await controller.job(parameters.job, options)),
    runJob: async ({ parameters, body, options }) => {
      const operations = await controller.runJob(parameters.job, body.vms ?? null, options);
      return { items: operations.map(operationAnswer) };
    },
    pauseJob: async ({ parameters, options }) =>
      jobAnswer(await controller.setJobPaused(parameters.job, true, options)),
    resumeJob: async ({ parameters, options }) =>
      jobAnswer(await controller.setJobPaused(parameters.job, false, options)),
    deleteJob: async ({ parameters, options }) => {
      const { id, name } = await controller.deleteJob(parameters.job, options);
      return { id, name };
    },
  };
}

function withDefaults(body: ParsedBody<'createJob'>): CreateJob {
  return {
    name: body.name,
    sourceHost: body.sourceHost,
    targetHost: body.targetHost,
    vms: body.vms,
    rpoSeconds: body.rpoSeconds ?? DEFAULT_RPO_SECONDS,
    isScheduled: body.isScheduled ?? true,
    windows: (body.windows ?? []).map(parseWindow),
    retention: body.retention ?? DEFAULT_RETENTION,
    quiesce: body.quiesce ?? 'if-possible',
    replicaSuffix: body.replicaSuffix ?? DEFAULT_SUFFIX,
    networkMap: body.networkMap ?? {},
    bytesPerSecondMax: body.bytesPerSecondMax ?? null,
    archiveSeconds: body.archiveSeconds ?? DEFAULT_ARCHIVE_SECONDS,
    scratch: scratchWithDefaults(body.scratch ?? {}),
    testing: testingPolicy(body.testing ?? null),
    answers: (body.answers ?? []).map(({ vm, at }) => ({
      vm: vm ?? null,
      at: parseAddressProbe(at),
    })),
    ...(body.seeds === undefined ? {} : { seeds: body.seeds }),
  };
}

function testingPolicy(asked: ParsedBody<'createJob'>['testing'] | null): TestingPolicy | null {
  if (asked == null) return null;
  return { everySeconds: asked.everySeconds, probes: parseProbes(asked.probes) };
}

function scratchWithDefaults(
  asked: NonNullable<ParsedBody<'createJob'>['scratch']>,
): ScratchPolicy {
  return {
    quotaBytes: asked.quotaBytes ?? DEFAULT_SCRATCH.quotaBytes,
    reserveBytes: asked.reserveBytes ?? DEFAULT_SCRATCH.reserveBytes,
    deadlineMs: asked.deadlineMs ?? DEFAULT_SCRATCH.deadlineMs,
  };
}

function created(creation: Extract<JobCreation, { type: 'created' }>) {
  return { job: jobAnswer(creation.job), findings: findingAnswers(creation.findings) };
}

function refusal(job: string, creation: Extract<JobCreation, { type: 'blocked' }>): Refusal {
  const findings = findingAnswers(creation.findings);
  const first = findings.find((finding) => finding.severity === 'blocks');
  const reason =
    first === undefined ? 'the preflight failed' : `${first.element}: ${first.message}`;
  return {
    refusal: new UnderstudyError('preflight-blocked', { job, reason: reason.replace(/\.$/, '') }),
    findings,
  };
}

function findingAnswers(found: readonly VmFindings[]): PreflightFindingAnswer[] {
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

function jobAnswer({ job, replicas, nextRunAt, ...hosts }: JobView): JobAnswer {
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
