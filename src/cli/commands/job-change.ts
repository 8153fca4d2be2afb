/** `job change`: what is given is changed, and everything else stays. */
import type { Command } from 'commander';
import type {
  ChangeJobRequest,
  JobChangedAnswer,
  JobChangePreviewAnswer,
} from '../../contract/job.ts';
import { choice, collect, leaf, notEmpty, type Runner } from '../command-tree.ts';
import { escapeText } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { usageFailure } from '../failure.ts';
import { parseCount, parseSeconds, parseTier } from '../quantities.ts';
import { renderTable } from '../table.ts';
import { type JobSettings, parseAnswers, plainSettings } from './job-settings.ts';

type ChangeOptions = JobSettings & {
  readonly name?: string;
  readonly schedule?: boolean;
};

export function jobChangeCommand(job: Command, runner: Runner): void {
  const change = leaf(
    job,
    'change <job>',
    'Change settings of a job. What is not given stays as it is.\nRuns that are under way go on as they began. Where the job replicates from and to, and which VMs, is what makes it that job: for those, delete it and create it anew.',
    [
      'job change nightly --rpo 5m --keep 24 --dry-run',
      'job change nightly --rpo 5m --keep 24',
      'job change nightly --network lan=dr-lan --network wan=',
      "job change files --window 'mon-fri 22:00-06:00' --limit 50MiB",
      'job change files --window none --limit none --keep-tier none --test-every never',
      'job change mail --answers tcp:10.0.0.5:25',
    ],
  );
  runner.run<ChangeOptions>(changeOptions(change), async (session, [name = ''], options) => {
    const request = { parameters: { job: name }, body: changeRequest(options) };
    if (options.dryRun === true) {
      const preview = await session.client.call('previewJobChange', request);
      session.sayFindings(preview.findings);
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    const changed = await session.client.call('changeJob', request);
    session.sayFindings(changed.findings);
    session.show(changed, renderChanged);
    return undefined;
  });
}

function changeOptions(change: Command): Command {
  return change
    .option('--name <name>', 'call it otherwise', notEmpty)
    .option('--rpo <duration>', 'the newest restore point is never to be older')
    .option('--schedule', 'run by the clock')
    .option('--no-schedule', 'run only by hand')
    .option(
      '--window <[days] from-to>',
      'runs begin by the clock only then, in UTC, instead of in the windows there were; `none`: at any time (repeatable)',
      collect,
    )
    .option('--keep <count>', 'keep this many newest restore points')
    .option(
      '--keep-tier <every:for>',
      'also one per period, e.g. 1h:1d, instead of the tiers there were; `none`: no tiers (repeatable)',
      collect,
    )
    .addOption(
      choice('--quiesce <when>', 'flush the guest first', ['never', 'if-possible', 'required']),
    )
    .option(
      '--network <src=dst>',
      'target network, or nothing to disconnect; other networks stay mapped as they are, and lan=lan maps nothing (repeatable)',
      collect,
    )
    .option('--limit <size>', 'at most this much per second, e.g. 50MiB; `none`: no limit')
    .option('--archive <duration>', 'keep the branch of an undone failover')
    .option('--scratch-quota <size>', 'old blocks of a frozen VM; `none`: half of what is free')
    .option('--scratch-reserve <size>', 'always left free beside them')
    .option('--scratch-deadline <duration>', 'a freeze ends at this age')
    .option(
      '--test-every <duration>',
      'boot the newest point in isolation this often; `never`: only by hand',
    )
    .option(
      '--probe <probe>',
      'what a test must find, instead of the probes there were (repeatable)',
      collect,
    )
    .option(
      '--answers <[vm=]address>',
      'where the guest of that VM answers, instead of the addresses it had; `none`: its agent alone (repeatable)',
      collect,
    )
    .option('--dry-run', 'say what it would mean, and from when on; change nothing');
}

function changeRequest(options: ChangeOptions): ChangeJobRequest {
  const { name, schedule, window } = options;
  const request: ChangeJobRequest = {
    ...(name === undefined ? {} : { name }),
    ...(schedule === undefined ? {} : { isScheduled: schedule }),
    ...(window === undefined ? {} : { windows: orNone(window, '--window') }),
    ...plainSettings(options),
    ...retentionRequest(options),
    ...testingRequest(options),
    ...answersRequest(options),
  };
  if (Object.keys(request).length > 0) return request;
  throw usageFailure('Say what is to be changed: see `understudy job change --help`.');
}

/** `none` stands alone. */
function orNone(values: readonly string[], option: string): string[] {
  if (!values.includes('none')) return [...values];
  if (values.length === 1) return [];
  throw usageFailure(`${option} none leaves nothing: give it alone, or the values without it.`);
}

function retentionRequest({ keep, keepTier }: ChangeOptions): Pick<ChangeJobRequest, 'retention'> {
  if (keep === undefined && keepTier === undefined) return {};
  return {
    retention: {
      ...(keep === undefined ? {} : { keepLast: parseCount(keep, '--keep') }),
      ...(keepTier === undefined ? {} : { tiers: orNone(keepTier, '--keep-tier').map(parseTier) }),
    },
  };
}

function testingRequest({ testEvery, probe }: ChangeOptions): Pick<ChangeJobRequest, 'testing'> {
  if (testEvery === undefined && probe === undefined) return {};
  if (testEvery === 'never') {
    if (probe === undefined) return { testing: null };
    throw usageFailure('--test-every never ends the tests: leave out --probe.');
  }
  return {
    testing: {
      ...(testEvery === undefined ? {} : { everySeconds: parseSeconds(testEvery, '--test-every') }),
      ...(probe === undefined ? {} : { probes: [...probe] }),
    },
  };
}

type Answers = NonNullable<ChangeJobRequest['answers']>[number];

/** All addresses of one VM together, in the order in which the VMs are named. */
function answersRequest({ answers }: ChangeOptions): Pick<ChangeJobRequest, 'answers'> {
  if (answers === undefined) return {};
  const grouped = Map.groupBy(answers.map(answerOf), ({ vm }) => vm);
  return {
    answers: [...grouped].map(([vm, all]): Answers => {
      const at = orNone(
        all.map((one) => one.at),
        '--answers',
      );
      return vm === undefined ? { at } : { vm, at };
    }),
  };
}

function answerOf(text: string): { readonly vm?: string | undefined; readonly at: string } {
  if (text === 'none') return { at: 'none' };
  if (text.endsWith('=none')) return { vm: text.slice(0, -'=none'.length), at: 'none' };
  return parseAnswers(text);
}

function renderPreview({ changes, refusedBecause }: JobChangePreviewAnswer): string {
  const verdict =
    refusedBecause === null ? '' : `It would be refused: ${escapeText(refusedBecause)}\n`;
  return `${renderChanges(changes)}${verdict}`;
}

function renderChanged({ job, changes, operationId }: JobChangedAnswer): string {
  if (operationId === null) return renderChanges(changes);
  return `${renderChanges(changes)}\nJob ${job.name} is changed (${operationId}).\n`;
}

function renderChanges(changes: JobChangedAnswer['changes']): string {
  if (changes.length === 0) return 'Nothing changes: the job is like that already.\n';
  return renderTable(changes, [
    { header: 'SETTING', cell: ({ setting }) => setting },
    { header: 'OLD', cell: ({ from }) => from },
    { header: 'NEW', cell: ({ to }) => to },
    { header: 'TAKES EFFECT', cell: ({ takesEffect }) => takesEffect },
  ]);
}
