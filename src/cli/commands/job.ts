import type { Command } from 'commander';
import type { JobAnswer } from '../../contract/job.ts';
import {
  collect,
  group,
  leaf,
  type Runner,
  type WaitOptions,
  waitOptions,
} from '../command-tree.ts';
import { formatAge, formatBytes, formatSeconds, formatTime, yesNo } from '../format.ts';
import { exitCodeOfAll } from '../session.ts';
import { renderDetails, renderTable } from '../table.ts';
import { jobChangeCommand } from './job-change.ts';
import { jobCreateCommand } from './job-create.ts';
import { renderOperations } from './operation.ts';

type RunOptions = WaitOptions & { readonly vm?: readonly string[] };

export function jobCommands(program: Command, runner: Runner): void {
  const job = group(program, 'job', 'Replication jobs', [
    'job create nightly --source production --target recovery --vm web-01',
    'job run nightly',
  ]);
  jobCreateCommand(job, runner);
  jobChangeCommand(job, runner);

  const list = leaf(job, 'list', 'List the jobs', ['job list']);
  runner.run(list, async ({ client, showList, world }) => {
    const jobs = (await client.call('listJobs')).items;
    showList(jobs, (rows) => renderJobs(rows, world.now()));
    return undefined;
  });

  const show = leaf(job, 'show <job>', 'Show a job with its VMs', ['job show nightly']);
  runner.run(show, async ({ client, show }, [name = '']) => {
    show(await client.call('showJob', { parameters: { job: name } }), renderJob);
    return undefined;
  });

  runCommand(job, runner);
  pauseCommands(job, runner);

  const remove = leaf(
    job,
    'delete <job>',
    'Delete a job; its replicas and points stay.\nCreated anew, replicas of the same VMs on the same hosts go on where they were. Its settings alone can be changed: `job change`.',
    ['job delete nightly'],
  );
  runner.run(remove, async ({ client, tell }, [name = '']) => {
    const deleted = await client.call('deleteJob', { parameters: { job: name } });
    tell(
      deleted,
      `Job ${deleted.name} is deleted. Its replicas stay: see \`understudy replica list\`.`,
    );
    return undefined;
  });
}

function runCommand(job: Command, runner: Runner): void {
  const run = waitOptions(
    leaf(job, 'run <job>', 'Replicate now: one operation per VM', [
      'job run nightly',
      'job run nightly --vm web-01 --no-wait',
    ]).option('--vm <name>', 'only this VM of the job (repeatable)', collect),
  );
  runner.run<RunOptions>(run, async (session, [name = ''], { vm, wait }) => {
    const { items } = await session.client.call('runJob', {
      parameters: { job: name },
      body: vm === undefined ? {} : { vms: [...vm] },
    });
    const settled = await session.settle(items, wait);
    session.showList(settled, renderOperations);
    return exitCodeOfAll(settled, wait);
  });
}

function pauseCommands(job: Command, runner: Runner): void {
  const pause = leaf(job, 'pause <job>', 'Stop scheduled runs; what runs now goes on', [
    'job pause nightly',
  ]);
  runner.run(pause, async ({ client, tell }, [name = '']) => {
    const paused = await client.call('pauseJob', { parameters: { job: name } });
    tell(
      paused,
      `Job ${paused.name} is paused. Resume it with \`understudy job resume ${paused.id}\`.`,
    );
    return undefined;
  });

  const resume = leaf(job, 'resume <job>', 'Let scheduled runs happen again', [
    'job resume nightly',
  ]);
  runner.run(resume, async ({ client, tell }, [name = '']) => {
    const resumed = await client.call('resumeJob', { parameters: { job: name } });
    const { isScheduled, nextRunAt } = resumed;
    const when = isScheduled ? `; next: ${formatTime(nextRunAt)}` : ', by hand as before';
    tell(resumed, `Job ${resumed.name} runs again${when}.`);
    return undefined;
  });
}

function renderJobs(jobs: readonly JobAnswer[], nowMs: number): string {
  return renderTable(jobs, [
    { header: 'NAME', cell: (job) => job.name },
    { header: 'FROM', cell: (job) => job.sourceHostName },
    { header: 'TO', cell: (job) => job.targetHostName },
    { header: 'VMS', cell: (job) => String(job.vms.length), align: 'right' },
    { header: 'RPO', cell: (job) => formatSeconds(job.rpoSeconds) },
    { header: 'NEXT RUN', cell: (job) => nextRun(job, nowMs) },
    { header: 'ID', cell: (job) => job.id },
  ]);
}

function nextRun(job: JobAnswer, nowMs: number): string {
  if (job.isPaused) return 'paused';
  if (!job.isScheduled) return 'by hand';
  if (job.nextRunAt !== null && Date.parse(job.nextRunAt) <= nowMs) return 'due now';
  return formatAge(job.nextRunAt, nowMs);
}

export function renderJob(job: JobAnswer): string {
  const { keepLast, tiers } = job.retention;
  const networks = Object.entries(job.networkMap);
  return renderDetails([
    ['Name', job.name],
    ['Id', job.id],
    ['From', job.sourceHostName],
    ['To', job.targetHostName],
    ['VMs', job.vms.map(vmLine)],
    ['RPO', formatSeconds(job.rpoSeconds)],
    ['Scheduled', `${yesNo(job.isScheduled)}${job.isPaused ? ', paused' : ''}`],
    ['Windows', job.windows.length === 0 ? 'at any time' : job.windows],
    ['Next run', formatTime(job.nextRunAt)],
    ['Keep', [`the newest ${keepLast}`, ...tiers.map(tierLine)]],
    ['Quiesce', job.quiesce],
    ['Networks', networks.map(([from, to]) => `${from} → ${to ?? 'disconnected'}`)],
    ['Limit', job.bytesPerSecondMax === null ? 'none' : `${formatBytes(job.bytesPerSecondMax)}/s`],
    ['Archive', `undone failovers are kept for ${formatSeconds(job.archiveSeconds)}`],
    ['Scratch', scratchLine(job.scratch)],
    ['Tests', testingLine(job.testing)],
    ['Created', formatTime(job.createdAt)],
  ]);
}

function vmLine(vm: JobAnswer['vms'][number]): string {
  const replica = vm.replicaId === null ? 'no replica yet' : `replica ${vm.replicaId}`;
  const state = vm.excludedBecause === null ? replica : `excluded: ${vm.excludedBecause}`;
  const answers = vm.answersAt.length === 0 ? '' : `, answers at ${vm.answersAt.join(', ')}`;
  return `${vm.name} (${state}${answers})`;
}

function tierLine(tier: { everySeconds: number; forSeconds: number }): string {
  return `one per ${formatSeconds(tier.everySeconds)} for ${formatSeconds(tier.forSeconds)}`;
}

function testingLine(testing: JobAnswer['testing']): string {
  if (testing === null) return 'by hand';
  return `every ${formatSeconds(testing.everySeconds)}: ${testing.probes.join(', ')}`;
}

function scratchLine({ quotaBytes, reserveBytes, deadlineMs }: JobAnswer['scratch']): string {
  const quota = quotaBytes === null ? 'half of what is free' : formatBytes(quotaBytes);
  return `at most ${quota}, ${formatBytes(reserveBytes)} left free, for ${formatSeconds(deadlineMs / 1000)}`;
}
