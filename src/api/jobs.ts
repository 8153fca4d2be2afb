import type { ParsedBody } from '../contract/routes.ts';
import { parseAddressProbe } from '../domain/failover/address-probe.ts';
import {
  DEFAULT_ARCHIVE_SECONDS,
  DEFAULT_SCRATCH,
  type ScratchPolicy,
  type TestingPolicy,
} from '../domain/job/job.ts';
import { parseWindow } from '../domain/replication/window.ts';
import { DEFAULT_RETENTION } from '../domain/restore-point/retention.ts';
import type { Controller } from '../ports/controller.ts';
import type { ChangeJob, CreateJob } from '../ports/job-orders.ts';
import type { Handlers } from './handlers.ts';
import { findingAnswers, jobAnswer, refusal, refusedBecause } from './job-answers.ts';
import { operationAnswer } from './operations.ts';
import { parseProbes } from './tests.ts';

type Verbs =
  | 'createJob'
  | 'previewJob'
  | 'changeJob'
  | 'previewJobChange'
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
      const { findings } = creation;
      if (creation.type === 'blocked') return refusal(body.name, findings);
      return { job: jobAnswer(creation.job), findings: findingAnswers(findings) };
    },
    previewJob: async ({ body, options }) => {
      const { job, findings, isBlocked, replicas } = await controller.previewJob(
        withDefaults(body),
        options,
      );
      return {
        job: jobAnswer(job),
        findings: findingAnswers(findings),
        replicas: [...replicas],
        refusedBecause: isBlocked ? refusedBecause(findings) : null,
      };
    },
    changeJob: async ({ parameters, body, options }) => {
      const changed = await controller.changeJob(parameters.job, changeOf(body), options);
      if (changed.type === 'blocked') return refusal(parameters.job, changed.findings);
      const { job, changes, findings, operationId } = changed;
      return {
        job: jobAnswer(job),
        changes: [...changes],
        findings: findingAnswers(findings),
        operationId,
      };
    },
    previewJobChange: async ({ parameters, body, options }) => {
      const { job, changes, findings, isBlocked } = await controller.previewJobChange(
        parameters.job,
        changeOf(body),
        options,
      );
      return {
        job: jobAnswer(job),
        changes: [...changes],
        findings: findingAnswers(findings),
        refusedBecause: isBlocked ? refusedBecause(findings) : null,
      };
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

/** Every field that is there, and no other: what is absent stays as it is. */
function changeOf(body: ParsedBody<'changeJob'>): ChangeJob {
  const { windows, networkMap, retention, scratch, testing, answers, ...plain } = body;
  return present({
    ...plain,
    windows: windows?.map(parseWindow),
    networks: networkMap,
    retention: retention && present(retention),
    scratch: scratch && present(scratch),
    testing:
      testing && present({ ...testing, probes: testing.probes && parseProbes(testing.probes) }),
    answers: answers?.map(({ vm, at }) => ({ vm: vm ?? null, at: at.map(parseAddressProbe) })),
  });
}

type Present<T> = { [Field in keyof T]?: Exclude<T[Field], undefined> };

function present<T extends object>(fields: T): Present<T> {
  const there = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there) as Present<T>;
}
