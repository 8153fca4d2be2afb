import type { Command } from 'commander';
import type { ArchiveAnswer, ArchiveDiffAnswer } from '../../contract/archive.ts';
import { group, leaf, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { escapeText } from '../escape.ts';
import { usageFailure } from '../failure.ts';
import { formatAge, formatBytes, formatTime } from '../format.ts';
import { parseMoment, parseSeconds } from '../quantities.ts';
import { renderTable } from '../table.ts';
import { settleAndShow } from './operation.ts';

type KeepOptions = WaitOptions & { readonly until: string };

export function archiveCommands(program: Command, runner: Runner): void {
  const archive = group(
    program,
    'archive',
    'Archived branches: what replicas wrote before a failover was undone',
    ['archive list web-01-replica', 'archive diff web-01-replica br-4f2a'],
  );
  listCommand(archive, runner);
  diffCommand(archive, runner);
  exportCommand(archive, runner);
  keepCommand(archive, runner);
  deleteCommand(archive, runner);
}

function listCommand(archive: Command, runner: Runner): void {
  const list = leaf(
    archive,
    'list <replica>',
    'List the archived branches of a replica: of when, over which point, how large, kept how long.\nFail over to one again with `understudy failover REPLICA --archive BRANCH`; the archive stays as it is.',
    ['archive list web-01-replica', 'archive list web-01-replica -o json'],
  );
  runner.run(list, async ({ client, showList, world }, [replica = '']) => {
    const { items } = await client.call('listArchives', { parameters: { replica } });
    showList(items, (rows) => renderArchives(rows, world.now()));
    return undefined;
  });
}

function diffCommand(archive: Command, runner: Runner): void {
  const diff = leaf(
    archive,
    'diff <replica> <branch>',
    'Show what an archived branch has that what it lies over has not: blocks written, per disk, in units of 64 KiB.\nWith -o json: every range. For the files in it, export it and mount the copy.',
    ['archive diff web-01-replica br-4f2a', 'archive diff web-01-replica br-4f2a -o json'],
  );
  runner.run(diff, async ({ client, show }, [replica = '', branch = '']) => {
    const parameters = { replica, archive: branch };
    show(await client.call('diffArchive', { parameters }), renderDiff);
    return undefined;
  });
}

function exportCommand(archive: Command, runner: Runner): void {
  const copy = waitOptions(
    leaf(
      archive,
      'export <replica> <branch>',
      "Copy an archived branch to qcow2 files that stand alone, into `exports/` of the target host's storage folder.\nCancelled, it leaves nothing; interrupted, it goes on with the disk that it was at. What it made is yours: delete it when you need it no more, for nothing else does.",
      ['archive export web-01-replica br-4f2a'],
    ),
  );
  runner.run<WaitOptions>(copy, async (session, [replica = '', branch = ''], { wait }) => {
    const parameters = { replica, archive: branch };
    const accepted = await session.client.call('exportArchive', { parameters });
    return settleAndShow(session, accepted, wait);
  });
}

function keepCommand(archive: Command, runner: Runner): void {
  const keep = waitOptions(
    leaf(
      archive,
      'keep <replica> <branch>',
      'Keep an archived branch for longer, or shorter, than the job says',
      [
        'archive keep web-01-replica br-4f2a --until 2w',
        'archive keep web-01-replica br-4f2a --until 2026-04-01',
      ],
    ).requiredOption('--until <when>', 'a time, or a duration from now such as 2w (required)'),
  );
  runner.run<KeepOptions>(keep, async (session, [replica = '', branch = ''], options) => {
    const until = momentOf(options.until, session.world.now());
    const parameters = { replica, archive: branch };
    const accepted = await session.client.call('keepArchive', { parameters, body: { until } });
    return settleAndShow(session, accepted, options.wait);
  });
}

function deleteCommand(archive: Command, runner: Runner): void {
  const deletion = waitOptions(
    leaf(
      archive,
      'delete <replica> <branch>',
      'Delete an archived branch now.\nThis cannot be undone.',
      ['archive delete web-01-replica br-4f2a'],
    ),
  );
  runner.run<WaitOptions>(deletion, async (session, [replica = '', branch = ''], { wait }) => {
    const parameters = { replica, archive: branch };
    const accepted = await session.client.call('deleteArchive', { parameters });
    return settleAndShow(session, accepted, wait);
  });
}

/** The last moment whose year has four digits. */
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z');

function momentOf(text: string, nowMs: number): string {
  if (/^(?:\d+[smhdw])+$/.test(text)) {
    const untilMs = nowMs + parseSeconds(text, '--until') * 1000;
    if (untilMs <= LAST_MS) return new Date(untilMs).toISOString();
    throw usageFailure(`--until ${text} is beyond the year 9999.`);
  }
  const at = parseMoment(text);
  if (at !== null) return at;
  throw usageFailure(
    `--until takes a time such as 2026-04-01T12:00:00Z or a duration such as 2w, not "${text}".`,
  );
}

function renderArchives(archives: readonly ArchiveAnswer[], nowMs: number): string {
  const why =
    archives.find(({ unknownBecause }) => unknownBecause !== null)?.unknownBecause ?? null;
  const table = renderTable(archives, [
    { header: 'BRANCH', cell: (one) => one.branchId },
    { header: 'ARCHIVED', cell: (one) => formatAge(one.archivedAt, nowMs) },
    { header: 'LIES OVER', cell: (one) => one.overBranchId ?? one.pointId },
    { header: 'POINT OF', cell: pointCell },
    {
      header: 'SIZE',
      cell: (one) => (one.bytes === null ? '?' : formatBytes(one.bytes)),
      align: 'right',
    },
    { header: 'KEPT UNTIL', cell: (one) => formatTime(one.keepUntil) },
    { header: 'NEEDED BY', cell: (one) => one.neededBy ?? '' },
  ]);
  return why === null ? table : `${table}SIZE is not known: ${escapeText(why)}\n`;
}

function pointCell({ pointTakenAt, isPointThere }: ArchiveAnswer): string {
  return `${formatTime(pointTakenAt)}${isPointThere ? '' : ' (point is gone)'}`;
}

const RANGES_SHOWN = 20;

function renderDiff({ branchId, overBranchId, pointId, disks }: ArchiveDiffAnswer): string {
  const over =
    overBranchId === null ? `restore point ${pointId}` : `archived branch ${overBranchId}`;
  const table = renderTable(disks, [
    { header: 'DISK', cell: (disk) => disk.key },
    { header: 'SIZE', cell: (disk) => formatBytes(disk.sizeBytes), align: 'right' },
    { header: 'WRITTEN', cell: (disk) => formatBytes(disk.writtenBytes), align: 'right' },
    { header: 'ZEROED', cell: (disk) => formatBytes(disk.zeroedBytes), align: 'right' },
    { header: 'RANGES', cell: (disk) => String(disk.rangeCount), align: 'right' },
  ]);
  return `${branchId} against ${over}\n${table}${disks.map(rangeLines).join('')}`;
}

function rangeLines({ key, rangeCount, ranges }: ArchiveDiffAnswer['disks'][number]): string {
  const shown = ranges.slice(0, RANGES_SHOWN).map(({ offset, length, isZero }) => {
    const what = isZero ? 'zeroed' : 'written';
    return `  ${key}: ${formatBytes(length)} ${what} at ${formatBytes(offset)} (${offset})\n`;
  });
  const more = rangeCount - shown.length;
  return shown.join('') + (more > 0 ? `  ${key}: ${more} more, see -o json\n` : '');
}
