import type { Command } from 'commander';
import type { CreateJobRequest, JobPreviewAnswer } from '../../contract/job.ts';
import { choice, collect, leaf, notEmpty, type Runner } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { usageFailure } from '../failure.ts';
import { count } from '../format.ts';
import { parseCount, parseSeconds, parseTier } from '../quantities.ts';
import { parseSeedOfVm } from '../seeds.ts';
import { renderDetails } from '../table.ts';
import { renderJob } from './job.ts';
import { type JobSettings, parseAnswers, plainSettings } from './job-settings.ts';

type CreateOptions = JobSettings & {
  readonly source: string;
  readonly target: string;
  readonly vm: readonly string[];
  readonly seed?: readonly string[];
  readonly suffix?: string;
  readonly schedule: boolean;
};

const DEFAULT_KEEP = 7;

export function jobCreateCommand(job: Command, runner: Runner): void {
  const create = leaf(
    job,
    'create <name>',
    'Protect VMs: replicate them from one host to another.\nWhat the target cannot honour is listed; what makes the job impossible refuses it.',
    [
      'job create nightly --source production --target recovery --vm web-01 --vm db-01 --dry-run',
      'job create nightly --source production --target recovery --vm web-01 --vm db-01',
      'job create web --source production --target recovery --vm web-01 --rpo 5m --keep 12 --keep-tier 1h:1d --keep-tier 1d:30d',
      "job create files --source production --target recovery --vm files --rpo 24h --window 'mon-fri 22:00-06:00' --window 'sat,sun 00:00-24:00'",
      'job create shop --source production --target recovery --vm shop --test-every 7d --probe http:80/health',
      'job create mail --source production --target recovery --vm mail --answers tcp:10.0.0.5:25',
      'job create far --source production --target far --vm web-01 --seed web-01=vda:/srv/seed/web-01-vda.qcow2 --seed web-01=vdb:/srv/seed/web-01-vdb.vhdx',
      'job create far --source production --target far --vm web-01 --vm db-01 --seed web-01=vm:web-01-restored --seed db-01=replica:db-00-replica',
      'job create lab --source a --target b --vm test --network lan=isolated --network wan= --limit 50MiB --no-schedule',
    ],
  );
  runner.run<CreateOptions>(createOptions(create), async (session, [name = ''], options) => {
    const body = createRequest(name, options);
    if (options.dryRun === true) {
      const preview = await session.client.call('previewJob', { body });
      session.sayFindings(preview.findings);
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    const created = await session.client.call('createJob', { body });
    session.sayFindings(created.findings);
    session.show(created, ({ job }) => renderJob(job));
    return undefined;
  });
}

function createOptions(create: Command): Command {
  return create
    .requiredOption('--source <host>', 'host where the VMs run (required)', notEmpty)
    .requiredOption('--target <host>', 'host where the replicas stand by (required)', notEmpty)
    .requiredOption('--vm <vm>', 'name or UUID of a VM (required; repeatable)', collect)
    .option('--rpo <duration>', 'the newest restore point is never to be older (default: 15m)')
    .option(
      '--window <[days] from-to>',
      "runs begin by the clock only then, in UTC: 22:00-06:00 or 'mon-fri 22:00-06:00' (repeatable; default: at any time)",
      collect,
    )
    .option('--keep <count>', `keep this many newest restore points (default: ${DEFAULT_KEEP})`)
    .option('--keep-tier <every:for>', 'also one per period, e.g. 1h:1d (repeatable)', collect)
    .addOption(
      choice('--quiesce <when>', 'flush the guest first (default: if-possible)', [
        'never',
        'if-possible',
        'required',
      ]),
    )
    .option('--network <src=dst>', 'target network, or nothing to disconnect (repeatable)', collect)
    .option(
      '--seed <vm=seed>',
      'what is at the target already, so that only what differs is sent: DISK:PATH of a qcow2, raw or VHDX file there, vm:NAME of a VM there that is off, or replica:NAME (repeatable; one per disk)',
      collect,
    )
    .option('--limit <size>', 'at most this much per second, e.g. 50MiB')
    .option('--suffix <text>', 'appended to the VM name to name the replica (default: -replica)')
    .option('--archive <duration>', 'keep the branch of an undone failover (default: 24h)')
    .option('--scratch-quota <size>', 'old blocks of a frozen VM (default: half of what is free)')
    .option('--scratch-reserve <size>', 'always left free beside them (default: 256MiB)')
    .option('--scratch-deadline <duration>', 'a freeze ends at this age (default: 4h)')
    .option('--test-every <duration>', 'boot the newest point in isolation this often and probe it')
    .option(
      '--probe <probe>',
      'what a test must find, e.g. http:80/health (repeatable; default: agent)',
      collect,
    )
    .option(
      '--answers <[vm=]address>',
      'where a guest answers after a failover, beside its agent, e.g. tcp:10.0.0.5:22 (repeatable)',
      collect,
    )
    .option('--no-schedule', 'run only by hand')
    .option('--dry-run', 'ask the hosts, and say what would be made; make nothing');
}

function createRequest(name: string, options: CreateOptions): CreateJobRequest {
  const { source, target, vm, suffix } = options;
  return {
    name,
    sourceHost: source,
    targetHost: target,
    vms: [...vm],
    isScheduled: options.schedule,
    ...plainSettings(options),
    ...windowRequest(options),
    ...retentionRequest(options),
    ...(options.seed === undefined ? {} : { seeds: options.seed.map(parseSeedOfVm) }),
    ...(suffix === undefined ? {} : { replicaSuffix: suffix }),
    ...testingRequest(options),
    ...(options.answers === undefined ? {} : { answers: options.answers.map(parseAnswers) }),
  };
}

function windowRequest({ window, schedule }: CreateOptions): Pick<CreateJobRequest, 'windows'> {
  if (window === undefined) return {};
  if (!schedule) throw usageFailure('--window is for runs by the clock: leave out --no-schedule.');
  return { windows: [...window] };
}

function retentionRequest({ keep, keepTier }: CreateOptions): Pick<CreateJobRequest, 'retention'> {
  if (keep === undefined && keepTier === undefined) return {};
  const keepLast = keep === undefined ? DEFAULT_KEEP : parseCount(keep, '--keep');
  return { retention: { keepLast, tiers: (keepTier ?? []).map(parseTier) } };
}

function testingRequest({ testEvery, probe }: CreateOptions): Pick<CreateJobRequest, 'testing'> {
  if (testEvery === undefined) {
    if (probe === undefined) return {};
    throw usageFailure('--probe says what a scheduled test must find: add --test-every.');
  }
  const everySeconds = parseSeconds(testEvery, '--test-every');
  return { testing: { everySeconds, probes: [...(probe ?? ['agent'])] } };
}

/** The job without what it has only once it is there, and what would stand by at the target. */
function renderPreview({ job, replicas, refusedBecause }: JobPreviewAnswer): string {
  const made = replicas.map(({ name, sourceVmName, pointCount }) =>
    pointCount === null
      ? `${name} is made for ${sourceVmName}`
      : `${name} is there for ${sourceVmName}, and taken over with ${count(pointCount, 'restore point')}`,
  );
  const first = job.isScheduled ? 'begins at once, or when a window opens' : 'by hand';
  return `${renderJob(job)}${renderDetails([
    ['Replicas', made],
    ['First run', first],
    ['Refused', refusedBecause ?? 'no'],
  ])}`;
}
