import type { Command } from 'commander';
import type { OperationAnswer } from '../../contract/operation.ts';
import type { RebuildReportAnswer, RebuildRequestBody } from '../../contract/rebuild.ts';
import { collect, leaf, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { escapeText } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { usageFailure } from '../failure.ts';
import { findingLine, findingsLeft } from '../results.ts';
import type { Session } from '../session.ts';
import { renderTable } from '../table.ts';
import { renderOperations, settleAndShowAll } from './operation.ts';

type RescanOptions = WaitOptions & {
  readonly rebuild?: boolean;
  readonly host?: readonly string[];
  readonly sourceHost?: string;
  readonly repair?: boolean;
  readonly dryRun?: boolean;
};

export function rescanCommand(program: Command, runner: Runner): void {
  const rescan = leaf(
    program,
    'rescan',
    "Compare what is recorded of every replica with what is on disk.\nWith --rebuild: find replicas that lie on the hosts and are not in the catalogue, because the server's data folder was lost, and take them up again, with restore points, archives, a failover in progress, and their jobs, which stay paused. Nothing is deleted. Add the hosts first; see docs/runbooks/controller-lost.md.",
    [
      'rescan',
      'rescan --rebuild --dry-run',
      'rescan --rebuild',
      'rescan --rebuild --host recovery --source-host production',
    ],
  )
    .option('--rebuild', 'take up replicas that are not in the catalogue')
    .option('--host <host>', 'with --rebuild: only on this host (repeatable)', collect)
    .option(
      '--source-host <host>',
      'with --rebuild: of replicas that do not say where their source is',
    )
    .option(
      '--repair',
      'with --rebuild: make a damaged replica.json anew; without: carry out the named repair of each finding',
    )
    .option('--dry-run', 'with --rebuild: say what would be taken up; change nothing');
  runner.run<RescanOptions>(waitOptions(rescan), async (session, _none, options) => {
    if (options.rebuild === true) return rebuild(session, options);
    if (options.host !== undefined || options.sourceHost !== undefined || options.dryRun === true) {
      throw usageFailure('--host, --source-host and --dry-run go with --rebuild.');
    }
    return rescanAll(session, options);
  });
}

async function rebuild(session: Session, options: RescanOptions): Promise<number> {
  const { host, sourceHost, repair, dryRun } = options;
  const body: RebuildRequestBody = {
    ...(host === undefined ? {} : { hosts: [...host] }),
    ...(sourceHost === undefined ? {} : { sourceHost }),
    repairs: repair === true,
    isDryRun: dryRun === true,
  };
  const report = await session.client.call('rebuild', { body });
  session.show(report, renderReport);
  for (const { hostName, because } of report.unreachable) {
    session.say(`Host ${hostName} was left out: ${because}`);
  }
  const isWhole = report.folders.every(({ outcome }) => outcome !== 'skipped');
  return isWhole && report.unreachable.length === 0 ? EXIT.ok : EXIT.conflict;
}

async function rescanAll(session: Session, { repair, wait }: RescanOptions): Promise<number> {
  const replicas = (await session.client.call('listReplicas')).items;
  const asked = replicas.map(({ id }) =>
    session.client.call('rescanReplica', {
      parameters: { replica: id },
      body: { repair: repair === true },
    }),
  );
  return settleAndShowAll(session, asked, {
    wait,
    show: (settled) => session.showList(settled, renderRescans),
  });
}

/** Below the table what each of them left, so that one command tells all. */
function renderRescans(settled: readonly OperationAnswer[]): string {
  const left = settled.flatMap((operation) =>
    findingsLeft(operation).map((finding) => `${operation.title}: ${findingLine(finding)}`),
  );
  return renderOperations(settled) + left.map((line) => `${escapeText(line)}\n`).join('');
}

function renderReport({ folders, isDryRun }: RebuildReportAnswer): string {
  const table = renderTable(folders, [
    { header: 'REPLICA', cell: (one) => one.name },
    { header: 'TARGET', cell: (one) => one.targetHostName },
    { header: isDryRun ? 'WOULD BE' : 'OUTCOME', cell: (one) => one.outcome },
    { header: 'PHASE', cell: (one) => one.phase ?? '' },
    { header: 'POINTS', cell: (one) => String(one.pointCount), align: 'right' },
    { header: 'JOB', cell: (one) => one.jobName ?? '' },
    { header: 'ID', cell: (one) => one.replicaId },
  ]);
  const notes = folders.flatMap(({ name, notes: said }) =>
    said.map((note) => `${escapeText(`${name}: ${note}`)}\n`),
  );
  return table + notes.join('');
}
