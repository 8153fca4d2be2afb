import type { Command } from 'commander';
import type { FailoverPreviewAnswer, FailoverRequestBody } from '../../contract/failover.ts';
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
import { count, formatMs, formatSeconds, formatTime, yesNo } from '../format.ts';
import { renderDetails } from '../table.ts';
import { fenceCommands } from './fence.ts';
import { settleAndShow } from './operation.ts';
import { plannedFailoverCommand } from './planned-failover.ts';

type FailoverOptions = WaitOptions & {
  readonly point?: string;
  readonly archive?: string;
  readonly reason?: string;
  readonly fence?: 'none' | 'nics' | 'shutdown' | 'power-off';
  readonly acceptDuplicate?: boolean;
  readonly acceptDrift?: boolean;
  readonly dryRun?: boolean;
};

export function failoverCommands(program: Command, runner: Runner): void {
  failoverCommand(program, runner);
  plannedFailoverCommand(program, runner);
  undoCommand(program, runner);
  fenceCommands(program, runner);

  const permanent = waitOptions(
    leaf(
      program,
      'permanent-failover <replica>',
      'Keep the replica as an ordinary VM; protection of the source ends.\nThis cannot be undone.',
      ['permanent-failover web-01-replica'],
    ),
  );
  runner.run<WaitOptions>(permanent, async (session, [replica = ''], { wait }) => {
    const accepted = await session.client.call('permanentFailover', { parameters: { replica } });
    return settleAndShow(session, accepted, wait);
  });
}

function failoverCommand(program: Command, runner: Runner): void {
  const failover = leaf(
    program,
    'failover <replica>',
    'Switch to the replica at a restore point. It can be undone until it is made permanent.\nIf the source is known to run, the replica starts with its NICs disconnected, unless the source is fenced or the duplicate is accepted.',
    [
      'failover web-01-replica --dry-run',
      'failover web-01-replica --reason "host lost"',
      'failover web-01-replica --point 2026-03-01T12:00:00Z --fence power-off',
      'failover web-01-replica --archive br-4f2a',
    ],
  )
    .option(
      '--point <point>',
      'latest, an id, or a time: the newest not after it (default: latest)',
      notEmpty,
    )
    .option(
      '--archive <branch>',
      'go on from an archived branch instead of a point: see `understudy archive list`',
      notEmpty,
    )
    .option('--reason <text>', 'recorded with the failover')
    .addOption(
      choice('--fence <how>', 'what is done to the source first (default: none)', [
        'none',
        'nics',
        'shutdown',
        'power-off',
      ]),
    )
    .option('--accept-duplicate', 'connect the replica although the source runs; recorded')
    .option(
      '--accept-drift',
      'although somebody changed the files of the restore point: when there is no better one',
    )
    .option('--dry-run', 'say what it would mean; change nothing');
  runner.run<FailoverOptions>(waitOptions(failover), async (session, [replica = ''], options) => {
    const request = { parameters: { replica }, body: failoverRequest(options) };
    if (options.dryRun === true) {
      const preview = await session.client.call('previewFailover', request);
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    const accepted = await session.client.call('failover', request);
    return settleAndShow(session, accepted, options.wait);
  });
}

const MAY_FORCE =
  'If the target host stays away: repeat it with --force. What still runs there is ended when the host is back.';

function undoCommand(program: Command, runner: Runner): void {
  const undo = waitOptions(
    leaf(
      program,
      'undo-failover <replica>',
      'Go back to the source: stop the replica and set its writes aside (kept for the time that the job says)',
      [
        'undo-failover web-01-replica',
        'undo-failover web-01-replica --keep-fence',
        'undo-failover web-01-replica --force',
      ],
    )
      .option(
        '--force',
        'although the target host cannot be reached; it is cleaned when it is back',
      )
      .option(
        '--keep-fence',
        'leave the source off or cut off, as the failover has left it (default: start and connect it again)',
      ),
  );
  runner.run<UndoOptions>(undo, async (session, [replica = ''], { force, keepFence, wait }) => {
    const accepted = await session.client.call('undoFailover', {
      parameters: { replica },
      body: { force: force === true, keepFence: keepFence === true },
    });
    const exitCode = await settleAndShow(session, accepted, wait);
    if (exitCode === EXIT.failed && force !== true) session.say(MAY_FORCE);
    return exitCode;
  });
}

type UndoOptions = WaitOptions & { readonly force?: boolean; readonly keepFence?: boolean };

function failoverRequest(options: FailoverOptions): FailoverRequestBody {
  const { point, archive, reason, fence, acceptDuplicate, acceptDrift } = options;
  if (point !== undefined && archive !== undefined) {
    throw usageFailure('Name --point or --archive, not both.');
  }
  return {
    ...(point === undefined ? {} : { point }),
    ...(archive === undefined ? {} : { archive }),
    ...(reason === undefined ? {} : { reason }),
    ...(fence === undefined ? {} : { fence }),
    ...(acceptDuplicate === undefined ? {} : { acceptDuplicate }),
    ...(acceptDrift === undefined ? {} : { acceptDrift }),
  };
}

export function renderPreview(preview: FailoverPreviewAnswer): string {
  const { expectedRunningMs, expectedAnsweringMs, measuredFailovers } = preview;
  const newest = preview.isNewestPoint ? ', the newest' : '';
  const age = formatSeconds(preview.pointAgeSeconds);
  const loss =
    preview.lostSeconds === null ? 'unknown' : `about ${formatSeconds(preview.lostSeconds)}`;
  const measured =
    measuredFailovers === 0
      ? 'never measured'
      : `from ${count(measuredFailovers, 'earlier failover')}`;
  return renderDetails([
    ['Replica', `${preview.replicaName} (${preview.replicaId})`],
    ['Point', `${preview.pointId} of ${formatTime(preview.pointTakenAt)}, ${age} old${newest}`],
    ...(preview.archiveId === null
      ? []
      : [['Archive', `${preview.archiveId}, over that point`] as const]),
    ['Consistency', preview.pointConsistency],
    ['Source', preview.sourcePower],
    ['Writes lost', `${loss} (${preview.lossBecause})`],
    [
      'Expected',
      `running after ${formatMs(expectedRunningMs)}, answering after ${formatMs(expectedAnsweringMs)} (${measured})`,
    ],
    ['Fence', `${preview.fence}: ${preview.fenceConsequence}`],
    ['NICs', `connected: ${yesNo(preview.willConnectNics)}, because ${preview.connectionBecause}`],
    ['Warnings', preview.warnings],
    ...(preview.refusedBecause === null ? [] : [['Refused', preview.refusedBecause] as const]),
  ]);
}
