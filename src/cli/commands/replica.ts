import type { Command } from 'commander';
import type { OperationAnswer, SeenOperationAnswer } from '../../contract/operation.ts';
import type { ReplicaAnswer } from '../../contract/replica.ts';
import {
  group,
  leaf,
  notEmpty,
  type Runner,
  type WaitOptions,
  waitOptions,
} from '../command-tree.ts';
import { formatAge, formatBytes, formatMs, formatTime, yesNo } from '../format.ts';
import { renderDetails, renderTable } from '../table.ts';
import { waitsOf } from '../waits.ts';
import { settleAndShow } from './operation.ts';
import { seedCommand } from './seed.ts';

type RescanOptions = WaitOptions & { readonly repair?: boolean };
type VerifyOptions = WaitOptions & { readonly point?: string };

export function replicaCommands(program: Command, runner: Runner): void {
  const replica = group(program, 'replica', 'Replicas: stand-ins for protected VMs', [
    'replica list',
    'replica show web-01-replica',
  ]);

  const list = leaf(replica, 'list', 'List the replicas', ['replica list', 'replica list -o json']);
  runner.run(list, async ({ client, showList, world }) => {
    const replicas = (await client.call('listReplicas')).items;
    showList(replicas, (rows) => renderReplicas(rows, world.now()));
    return undefined;
  });

  const show = leaf(replica, 'show <replica>', 'Show a replica and what can be done with it', [
    'replica show web-01-replica',
  ]);
  runner.run(show, async ({ client, show, world }, [name = '']) => {
    const answer = await client.call('showReplica', { parameters: { replica: name } });
    show(answer, (one) => renderReplica(one, world.now()));
    return undefined;
  });

  seedCommand(replica, runner);
  rescanCommand(replica, runner);
  verifyCommand(replica, runner);
  endingCommands(replica, runner);
}

function rescanCommand(replica: Command, runner: Runner): void {
  const rescan = waitOptions(
    leaf(replica, 'rescan <replica>', 'Compare what is recorded with what is on disk', [
      'replica rescan web-01-replica',
      'replica rescan web-01-replica --repair',
    ]).option('--repair', 'carry out the named repair of each finding'),
  );
  runner.run<RescanOptions>(rescan, async (session, [name = ''], { repair, wait }) => {
    const accepted = await session.client.call('rescanReplica', {
      parameters: { replica: name },
      body: { repair: repair === true },
    });
    return settleAndShow(session, accepted, wait);
  });
}

function verifyCommand(replica: Command, runner: Runner): void {
  const verify = waitOptions(
    leaf(replica, 'verify <replica>', 'Read restore points back and compare their hashes', [
      'replica verify web-01-replica',
      'replica verify web-01-replica --point latest',
    ]).option('--point <point>', '`latest`, an id or a time (default: all)', notEmpty),
  );
  runner.run<VerifyOptions>(verify, async (session, [name = ''], { point, wait }) => {
    const accepted = await session.client.call('verifyReplica', {
      parameters: { replica: name },
      body: point === undefined ? {} : { point },
    });
    return settleAndShow(session, accepted, wait);
  });
}

function endingCommands(replica: Command, runner: Runner): void {
  const remove = waitOptions(
    leaf(replica, 'remove <replica>', 'Forget a replica; its VM and its files stay in place', [
      'replica remove web-01-replica',
    ]),
  );
  runner.run<WaitOptions>(remove, async (session, [name = ''], { wait }) => {
    const parameters = { replica: name };
    const accepted = await session.client.call('removeReplica', { parameters });
    return settleAndShow(session, accepted, wait);
  });

  const deletion = waitOptions(
    leaf(
      replica,
      'delete <replica>',
      'Delete a replica with its VM and all its restore points.\nThis cannot be undone.',
      ['replica delete web-01-replica'],
    ),
  );
  runner.run<WaitOptions>(deletion, async (session, [name = ''], { wait }) => {
    const parameters = { replica: name };
    const accepted = await session.client.call('deleteReplica', { parameters });
    return settleAndShow(session, accepted, wait);
  });
}

export function renderReplicas(replicas: readonly ReplicaAnswer[], nowMs: number): string {
  return renderTable(replicas, [
    { header: 'NAME', cell: (replica) => replica.name },
    { header: 'SOURCE', cell: (replica) => `${replica.sourceVmName} @ ${replica.sourceHostName}` },
    { header: 'TARGET', cell: (replica) => replica.targetHostName },
    { header: 'PHASE', cell: (replica) => replica.phase },
    { header: 'NEWEST POINT', cell: (replica) => formatAge(replica.newestPointTakenAt, nowMs) },
    { header: 'POINTS', cell: (replica) => String(replica.pointCount), align: 'right' },
    { header: 'NOW', cell: ({ openOperation }) => (openOperation ? nowOf(openOperation) : '') },
    {
      header: 'CONDITIONS',
      cell: (replica) => replica.conditions.map(({ name }) => name).join(', '),
    },
    { header: 'ID', cell: (replica) => replica.id },
  ]);
}

export function renderReplica(replica: ReplicaAnswer, nowMs: number): string {
  const { failover, failback, openOperation } = replica;
  const newest = replica.newestPointTakenAt;
  return renderDetails([
    ['Name', replica.name],
    ['Id', replica.id],
    ['Phase', replica.phase],
    ['Source', `${replica.sourceVmName} @ ${replica.sourceHostName} (${replica.sourceVmId})`],
    ...leftFenced(replica),
    ['Target', `${replica.targetHostName} (${replica.targetVmId ?? 'not defined yet'})`],
    ['Job', replica.jobName ?? 'none'],
    ['Points', `${replica.pointCount}, newest ${formatTime(newest)} (${formatAge(newest, nowMs)})`],
    ...(replica.seed === null ? [] : [['Seed', replica.seed.name] as const]),
    ['Conditions', replica.conditions.map(({ name, message }) => `${name}: ${message}`)],
    ['Operation', openOperation === null ? 'none' : operationLine(openOperation)],
    ['Tests', testLines(replica)],
    ...(failover === null ? [] : [['Failover', failoverLines(failover)] as const]),
    ...(failback === null ? [] : [['Failback', failbackLines(failback)] as const]),
    [
      'Archives',
      replica.archives.map((one) => `${one.branchId} until ${formatTime(one.keepUntil)}`),
    ],
    ['Allowed', replica.allowedCommands.join(', ') || 'nothing'],
    ['Created', formatTime(replica.createdAt)],
  ]);
}

/** One that waits for a person looks like one that works otherwise. */
function nowOf({ kind, state }: OperationAnswer): string {
  return state === 'running' ? kind : `${kind} (${state})`;
}

function operationLine(operation: SeenOperationAnswer): string {
  const { id, title, state } = operation;
  if (state === 'running') return `${title} (${id})`;
  const waits = waitsOf(operation);
  if (waits !== '') return `${title} (${id}), ${state}, waits for ${waits}`;
  const more = state === 'suspended' ? `: see \`understudy operation show ${id}\`` : '';
  return `${title} (${id}), ${state}${more}`;
}

/** The source may run without network, and nobody remembers why. */
function leftFenced({ leftFencedNics }: ReplicaAnswer): readonly (readonly [string, string])[] {
  if (leftFencedNics?.length === 0) return [];
  const which = leftFencedNics === null ? 'all NICs' : `NICs ${leftFencedNics.join(', ')}`;
  return [
    ['Source fence', `${which} were left disconnected by an undo; the next way back connects them`],
  ];
}

function failbackLines(failback: NonNullable<ReplicaAnswer['failback']>): readonly string[] {
  const { home, switchover, switched } = failback;
  const when =
    switchover.type === 'at'
      ? `at ${formatTime(switchover.at)}`
      : switchover.type === 'below'
        ? `when at most ${formatBytes(switchover.bytes)} are left`
        : switchover.type;
  const begun = [
    `to ${home.name} on ${home.hostName} (${home.kind}) since ${formatTime(failback.startedAt)}`,
    `copied last at ${formatTime(failback.syncedAt)}: ${formatBytes(failback.syncedBytes)}, pass ${failback.passes}`,
  ];
  if (switched === null) return [...begun, `switchover: ${when}`];
  return [
    ...begun,
    `production took over at ${formatTime(switched.switchedAt)}, running after ${formatMs(switched.runningAfterMs)}, answering after ${formatMs(switched.answeringAfterMs)}`,
    ...switched.changes.map((change) => `applied: ${change}`),
  ];
}

function testLines({ lastTest, openTests }: ReplicaAnswer): readonly string[] {
  const open = openTests.map((operation) => {
    const { id, title, state } = operation;
    const waits = waitsOf(operation);
    return `${state}: ${title} (${id})${waits === '' ? '' : `, waits for ${waits}`}`;
  });
  if (lastTest === null) return [...open, 'never proved: see `understudy test run`'];
  const { at, lastPassedAt, operationId, passed, pointId, summary } = lastTest;
  const verdict = passed ? 'passed' : 'failed';
  return [
    ...open,
    `last ${verdict} ${formatTime(at)} at point ${pointId} (${operationId}): ${summary}`,
    lastPassedAt === null
      ? 'never proved, as far as the history reaches'
      : `last proved ${formatTime(lastPassedAt)}`,
  ];
}

function failoverLines(failover: NonNullable<ReplicaAnswer['failover']>): readonly string[] {
  return [
    `since ${formatTime(failover.startedAt)} at point ${failover.pointId}`,
    `reason: ${failover.reason || 'none given'}`,
    `source fenced: ${failover.fence}`,
    `connected: ${yesNo(failover.isConnected)}, because ${failover.connectionBecause}`,
    `running after ${formatMs(failover.runningAfterMs)}, answering after ${formatMs(failover.answeringAfterMs)}${failover.answeredBy === null ? '' : ` (${failover.answeredBy})`}`,
  ];
}
