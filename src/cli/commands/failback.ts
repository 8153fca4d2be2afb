import type { Command } from 'commander';
import type { FailbackPreviewAnswer, FailbackRequestBody } from '../../contract/failback.ts';
import {
  choice,
  leaf,
  notEmpty,
  type Runner,
  type WaitOptions,
  waitOptions,
} from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { usageFailure } from '../failure.ts';
import { formatBytes, formatMs } from '../format.ts';
import { parseBytes, parseMoment, parseSeconds } from '../quantities.ts';
import { renderDetails } from '../table.ts';
import { settleAndShow } from './operation.ts';

type FailbackOptions = WaitOptions & {
  readonly copy?: string;
  readonly new?: boolean;
  readonly name?: string;
  readonly host?: string;
  readonly switchover?: string;
  readonly discardSavedState?: boolean;
  readonly applyChanges?: boolean;
  readonly shutdownDeadline?: string;
  readonly dryRun?: boolean;
};

export function failbackCommands(program: Command, runner: Runner): void {
  failbackCommand(program, runner);
  switchOverCommand(program, runner);
  endings(program, runner);
}

function failbackCommand(program: Command, runner: Runner): void {
  const failback = leaf(
    program,
    'failback <replica>',
    'Carry the work back to production: copy what differs while the replica serves on; then it is ready to switch.\nProduction is shut down if it runs, because its disks must stand still; only blocks that differ are moved.',
    [
      'failback web-01-replica --dry-run',
      'failback web-01-replica',
      'failback web-01-replica --switchover 2026-03-01T03:00:00Z',
      'failback web-01-replica --new --host production-2 --name web-01',
    ],
  )
    .option('--copy <vm>', 'to a restored copy of the VM instead of the VM itself', notEmpty)
    .option('--new', 'to a VM that is made at the switchover')
    .option('--name <name>', 'with --new: how it is called (default: as the source)', notEmpty)
    .option('--host <host>', 'with --copy or --new: where (default: the source host)', notEmpty)
    .option(
      '--switchover <when>',
      '`manual` (default), `automatic`, a time, or `below:SIZE`: when so little is left to copy',
      notEmpty,
    )
    .option(
      '--shutdown-deadline <duration>',
      "what production's guest may take to shut down; then it is powered off (default: 2m)",
    )
    .option('--discard-saved-state', 'throw away a saved memory image of production')
    .option('--apply-changes', "carry the replica's memory, processors and NICs over to production")
    .option('--dry-run', 'say what it would mean; change nothing');
  runner.run<FailbackOptions>(waitOptions(failback), async (session, [replica = ''], options) => {
    const request = { parameters: { replica }, body: failbackRequest(options) };
    if (options.dryRun === true) {
      const preview = await session.client.call('previewFailback', request);
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    const accepted = await session.client.call('failback', request);
    return settleAndShow(session, accepted, options.wait);
  });
}

function failbackRequest(options: FailbackOptions): FailbackRequestBody {
  const { discardSavedState, applyChanges, switchover, shutdownDeadline } = options;
  return {
    to: destination(options),
    ...(switchover === undefined ? {} : { switchover: switchoverOf(switchover) }),
    ...(discardSavedState === undefined ? {} : { discardSavedState }),
    ...(applyChanges === undefined ? {} : { applyChanges }),
    ...deadline(shutdownDeadline),
  };
}

function deadline(text: string | undefined): { readonly shutdownDeadlineMs?: number } {
  if (text === undefined) return {};
  return { shutdownDeadlineMs: parseSeconds(text, '--shutdown-deadline') * 1000 };
}

function destination({ copy, new: isNew, name, host }: FailbackOptions): FailbackRequestBody['to'] {
  if (copy !== undefined && isNew === true) {
    throw usageFailure('Name --copy or --new, not both.');
  }
  if (copy !== undefined && name === undefined)
    return { type: 'copy', vm: copy, host: host ?? null };
  if (isNew === true) return { type: 'new', host: host ?? null, name: name ?? null };
  if (host === undefined && name === undefined) return { type: 'original' };
  throw usageFailure('--host goes with --copy or --new, --name with --new.');
}

function switchoverOf(text: string): NonNullable<FailbackRequestBody['switchover']> {
  if (text === 'manual' || text === 'automatic') return { type: text };
  if (text.startsWith('below:')) {
    return { type: 'below', bytes: parseBytes(text.slice('below:'.length), '--switchover') };
  }
  const at = parseMoment(text);
  if (at !== null) return { type: 'at', at };
  throw usageFailure(
    `--switchover takes manual, automatic, a time such as 2026-03-01T03:00:00Z or below:SIZE such as below:64MiB, not "${text}".`,
  );
}

type SwitchOptions = WaitOptions & {
  readonly shutdownDeadline?: string;
  readonly onMissedDeadline?: 'ask' | 'power-off' | 'give-up';
  readonly applyChanges?: boolean;
  readonly dryRun?: boolean;
};

function switchOverCommand(program: Command, runner: Runner): void {
  const switchOver = leaf(
    program,
    'switch-over <replica>',
    'Let production take over: copy the rest, shut the replica down, follow its last writes, start production.\nIf anything fails before production runs, the replica starts again.',
    [
      'switch-over web-01-replica --dry-run',
      'switch-over web-01-replica',
      'switch-over web-01-replica --on-missed-deadline power-off',
    ],
  )
    .option(
      '--shutdown-deadline <duration>',
      "what the replica's guest may take to shut down (default: 5m)",
    )
    .addOption(
      choice('--on-missed-deadline <what>', 'when it takes longer (default: ask)', [
        'ask',
        'power-off',
        'give-up',
      ]),
    )
    .option('--apply-changes', "carry the replica's memory, processors and NICs over to production")
    .option('--dry-run', 'say what it would mean, and what was changed; change nothing');
  runner.run<SwitchOptions>(waitOptions(switchOver), async (session, [replica = ''], options) => {
    const { shutdownDeadline, onMissedDeadline, applyChanges, wait } = options;
    if (options.dryRun === true) {
      const preview = await session.client.call('previewSwitchOver', { parameters: { replica } });
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    const accepted = await session.client.call('switchOver', {
      parameters: { replica },
      body: {
        ...deadline(shutdownDeadline),
        ...(onMissedDeadline === undefined ? {} : { onMissedDeadline }),
        ...(applyChanges === undefined ? {} : { applyChanges }),
      },
    });
    return settleAndShow(session, accepted, wait);
  });
}

type UndoOptions = WaitOptions & {
  readonly force?: boolean;
  readonly shutdownDeadline?: string;
};

function endings(program: Command, runner: Runner): void {
  const cancel = leaf(
    program,
    'cancel-failback <replica>',
    'Give up a failback before its switchover: the replica serves on, production is as it was',
    ['cancel-failback web-01-replica'],
  );
  runner.run<WaitOptions>(waitOptions(cancel), async (session, [replica = ''], { wait }) => {
    const accepted = await session.client.call('cancelFailback', { parameters: { replica } });
    return settleAndShow(session, accepted, wait);
  });

  const commit = leaf(
    program,
    'commit-failback <replica>',
    'Keep production as it is now, and protect it again. The next run is incremental.\nThis cannot be undone.',
    ['commit-failback web-01-replica'],
  );
  runner.run<WaitOptions>(waitOptions(commit), async (session, [replica = ''], { wait }) => {
    const accepted = await session.client.call('commitFailback', { parameters: { replica } });
    return settleAndShow(session, accepted, wait);
  });

  const undo = leaf(
    program,
    'undo-failback <replica>',
    'Go back to the replica, as it was at the switchover. What production wrote since is dropped.',
    ['undo-failback web-01-replica', 'undo-failback web-01-replica --force'],
  )
    .option('--force', 'although production cannot be asked whether it runs')
    .option(
      '--shutdown-deadline <duration>',
      "what production's guest may take to shut down; then it is powered off (default: 2m)",
    );
  runner.run<UndoOptions>(waitOptions(undo), async (session, [replica = ''], options) => {
    const { force, shutdownDeadline, wait } = options;
    const accepted = await session.client.call('undoFailback', {
      parameters: { replica },
      body: { force: force === true, ...deadline(shutdownDeadline) },
    });
    return settleAndShow(session, accepted, wait);
  });
}

function takes(ms: number | null): string {
  return ms === null ? 'not measured yet' : `about ${formatMs(ms)}`;
}

/** To another VM than the source it is not told beforehand, measured or not. */
function copying({ expectedCopyMs, home }: FailbackPreviewAnswer): string {
  return expectedCopyMs === null && home.kind !== 'original' ? 'unknown' : takes(expectedCopyMs);
}

function renderPreview(preview: FailbackPreviewAnswer): string {
  const { home, branchBytes, changes } = preview;
  const { name, kind, hostName } = home;
  return renderDetails([
    ['Replica', `${preview.replicaName} (${preview.replicaId})`],
    ['To', `${name} on ${hostName} (${kind})`],
    ['Production', preview.homePower ?? 'not made yet'],
    ['Written', branchBytes === null ? 'nothing: it does not stand in' : formatBytes(branchBytes)],
    ['Copying', copying(preview)],
    [
      'Downtime',
      `${takes(preview.expectedDowntimeMs)} at the switchover (${preview.measuredMoves} measured)`,
    ],
    ['Changes', changes.length === 0 ? ['none'] : changes],
    ['Meaning', preview.consequence],
    ...(preview.refusedBecause === null ? [] : [['Refused', preview.refusedBecause] as const]),
  ]);
}
