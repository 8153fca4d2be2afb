import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { OperationAnswer, OperationDetailAnswer } from '../../contract/operation.ts';
import type {
  BisectResultAnswer,
  PointTestAnswer,
  TestFailoverRequest,
} from '../../contract/test-failover.ts';
import {
  collect,
  group,
  leaf,
  notEmpty,
  type Runner,
  type WaitOptions,
  waitOptions,
} from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { Failure } from '../failure.ts';
import { exitCodeOfOperation } from '../follow.ts';
import { count, formatBytes, formatMs, formatTime, yesNo } from '../format.ts';
import { errorCode } from '../location.ts';
import { parseCount, parseSeconds } from '../quantities.ts';
import { exitCodeOfAll, type Session } from '../session.ts';
import { renderDetails, renderTable } from '../table.ts';
import { renderOperation } from './operation.ts';

const PROBES = `Probes (all must pass):
  agent                    the guest agent answers
  tcp:22                   a connection is accepted
  http:80/health           answered with a status of 200 to 399
  http:80/health=204       answered with exactly this status
  command:/bin/check --x   a program in the guest, run through its agent, ends with 0
Each may end in a deadline of its own, counted from the start of the VM: http:80@90s (default: 3m).
A probe is no place for a secret: it is shown with the job, and by ps on the target host and in the guest.`;

const KEEP_SECONDS = 24 * 3600;

type RunOptions = WaitOptions & {
  readonly point?: readonly string[];
  readonly probe?: readonly string[];
  readonly hold?: string;
  readonly keep?: boolean;
};

export function testCommands(program: Command, runner: Runner): void {
  const test = group(
    program,
    'test',
    'Test failovers: boot restore points where they meet nobody',
    ['test run web-01-replica --probe http:80/health', 'test list'],
  );
  runCommand(test, runner);
  listCommand(test, runner);
  showCommand(test, runner);
  endCommand(test, runner);
  evidenceCommand(test, runner);
  bisectCommand(program, runner);
}

function runCommand(test: Command, runner: Runner): void {
  const run = leaf(
    test,
    'run <replica>',
    'Boot restore points in isolation, probe them, keep what the screen and console said, and clean up.\nReplication goes on; the replica itself is not touched. Exit code 1 when a point does not pass.',
    [
      'test run web-01-replica',
      'test run web-01-replica --probe http:80/health --probe "command:/usr/bin/check-db --quick"',
      'test run web-01-replica --point latest --point pt-4f2a --hold 30m',
    ],
  )
    .option('--point <point>', 'latest, an id, or a time (repeatable; default: latest)', collect)
    .option('--probe <probe>', 'what it must pass (repeatable; default: agent)', collect)
    .option('--hold <duration>', 'let it run on after the probes, for a look around')
    .option('--keep', 'let it run until `test end`, a day at most')
    .addHelpText('after', `\n${PROBES}`);
  runner.run<RunOptions>(waitOptions(run), async (session, [replica = ''], options) => {
    const { items } = await session.client.call('testFailover', {
      parameters: { replica },
      body: testRequest(options),
    });
    const settled = await session.settle(items, options.wait);
    session.showList(settled, options.wait ? renderTests : renderList);
    sayErrors(session, settled);
    return exitCodeOfAll(settled, options.wait);
  });
}

function testRequest({ point, probe, hold, keep }: RunOptions): TestFailoverRequest {
  const seconds = hold === undefined ? 0 : parseSeconds(hold, '--hold');
  return {
    ...(point === undefined ? {} : { points: [...point] }),
    ...(probe === undefined ? {} : { probes: [...probe] }),
    holdSeconds: keep === true ? Math.max(seconds, KEEP_SECONDS) : seconds,
  };
}

type ListOptions = { readonly open?: boolean; readonly limit?: string };

function listCommand(test: Command, runner: Runner): void {
  const list = leaf(test, 'list [replica]', 'List test failovers, newest first', [
    'test list',
    'test list web-01-replica --open',
  ])
    .option('--open', 'only those that have not ended')
    .option('--limit <count>', 'at most this many (default: 50)');
  runner.run<ListOptions>(list, async ({ client, showList }, [replica], options) => {
    const { open, limit } = options;
    const query = {
      kind: 'test-failover' as const,
      subject: replica,
      open: open === true ? ('true' as const) : undefined,
      limit: limit === undefined ? undefined : String(parseCount(limit, '--limit')),
    };
    showList((await client.call('listOperations', { query })).items, renderList);
    return undefined;
  });
}

function showCommand(test: Command, runner: Runner): void {
  const show = leaf(
    test,
    'show <operation>',
    'Show what a test failover or bisect found out.\nThe exit code tells whether it passed.',
    ['test show op-4f2a', 'test show op-4f2a -o json'],
  );
  runner.run(show, async ({ client, show }, [id = '']) => {
    const operation = await client.call('showOperation', { parameters: { operation: id } });
    show(operation, renderTest);
    return operation.endedAt === null ? EXIT.ok : exitCodeOfOperation(operation);
  });
}

function endCommand(test: Command, runner: Runner): void {
  const end = waitOptions(
    leaf(test, 'end <operation>', 'End a test that is held; its result stays', [
      'test end op-4f2a',
    ]),
  );
  runner.run<WaitOptions>(end, async (session, [id = ''], { wait }) => {
    const accepted = await session.client.call('endTest', { parameters: { operation: id } });
    const [settled = accepted] = await session.settle([accepted], wait);
    session.show(settled, renderTest);
    return settled.state === 'suspended' ? EXIT.failed : EXIT.ok;
  });
}

type EvidenceOptions = { readonly to?: string };

function evidenceCommand(test: Command, runner: Runner): void {
  const evidence = leaf(
    test,
    'evidence <operation>',
    'Save the pictures and console texts of a test failover or bisect as files',
    ['test evidence op-4f2a', 'test evidence op-4f2a --to /tmp/proof'],
  ).option('--to <folder>', 'where to (default: the current folder)', notEmpty);
  runner.run<EvidenceOptions>(evidence, async (session, [id = ''], { to = '.' }) => {
    const { client } = session;
    const operation = await client.call('showOperation', { parameters: { operation: id } });
    const tests = testsOf(operation).filter(({ evidence: files }) => files.length > 0);
    if (tests.length === 0) throw noEvidence(operation);
    await mkdir(to, { recursive: true }).catch(cannotSave(to));
    const saved: { readonly path: string; readonly bytes: number }[] = [];
    for (const { testId, pointId, evidence: files } of tests) {
      for (const { name } of files) {
        const parameters = { operation: operation.id, test: testId, name };
        const { base64 } = await client.call('testEvidence', { parameters });
        const content = Buffer.from(base64, 'base64');
        const path = join(to, `${pointId}-${testId}-${name}`);
        await writeFile(path, content).catch(cannotSave(path));
        saved.push({ path, bytes: content.length });
      }
    }
    session.showList(saved, (rows) =>
      renderTable(rows, [
        { header: 'FILE', cell: ({ path }) => path },
        { header: 'SIZE', cell: ({ bytes }) => formatBytes(bytes), align: 'right' },
      ]),
    );
    return undefined;
  });
}

/** It is kept when a test has ended, and only of what could be asked for it. */
function noEvidence({ id, state }: OperationAnswer): Failure {
  const message = `Operation ${id} has no evidence (it is ${state}). See \`understudy test show ${id}\`, and \`understudy test list\` for others.`;
  return new Failure(message, EXIT.missing);
}

function cannotSave(path: string): (cause: unknown) => never {
  return (cause) => {
    throw new Failure(`${path} cannot be written (${errorCode(cause)}).`, EXIT.failed, { cause });
  };
}

type BisectOptions = WaitOptions & { readonly probe: readonly string[] };

function bisectCommand(program: Command, runner: Runner): void {
  const bisect = leaf(
    program,
    'bisect <replica>',
    'Find the newest restore point that passes the probes, booting several at once, and pin it.\nExit code 1 when none passes.',
    [
      'bisect web-01-replica --probe http:80/health',
      'bisect db-01-replica --probe "command:/usr/bin/check-db --full@10m"',
    ],
  )
    .requiredOption('--probe <probe>', 'what a good point passes (required; repeatable)', collect)
    .addHelpText('after', `\n${PROBES}`);
  runner.run<BisectOptions>(waitOptions(bisect), async (session, [replica = ''], options) => {
    const accepted = await session.client.call('bisect', {
      parameters: { replica },
      body: { probes: [...options.probe] },
    });
    const [settled = accepted] = await session.settle([accepted], options.wait);
    session.show(settled, renderTest);
    sayErrors(session, [settled]);
    return exitCodeOfAll([settled], options.wait);
  });
}

function sayErrors({ say }: Session, operations: readonly OperationAnswer[]): void {
  for (const { title, state, error } of operations) {
    if (error !== null) say(`${title} is ${state}: ${error.message}`);
  }
}

/** The server speaks the contract of the same version; the result is as `pointTestSchema` says. */
function testsOf({ kind, state, result }: OperationAnswer): readonly PointTestAnswer[] {
  if (state !== 'succeeded' || result === null) return [];
  if (kind === 'test-failover') return [result as unknown as PointTestAnswer];
  if (kind === 'bisect') return (result as unknown as BisectResultAnswer).tests;
  return [];
}

function renderTests(operations: readonly OperationAnswer[]): string {
  return operations.map(renderTest).join('\n');
}

function renderList(operations: readonly OperationAnswer[]): string {
  return renderTable(operations, [
    { header: 'ID', cell: (operation) => operation.id },
    { header: 'STATE', cell: (operation) => operation.state },
    { header: 'BEGAN', cell: (operation) => formatTime(operation.createdAt) },
    { header: 'WHAT', cell: (operation) => operation.title },
    { header: 'VERDICT', cell: verdictOf },
  ]);
}

function verdictOf(operation: OperationAnswer): string {
  const [test] = testsOf(operation);
  if (test === undefined) return operation.error?.message ?? '';
  return `${test.passed ? 'passed' : 'failed'}: ${test.summary}`;
}

function renderTest(operation: OperationAnswer | OperationDetailAnswer): string {
  const tests = testsOf(operation);
  if (tests.length === 0) return renderOperation(operation);
  const head = operation.kind === 'bisect' ? renderAnswer(operation) : '';
  return head + tests.map((test) => renderPointTest(operation, test)).join('\n');
}

function renderAnswer({ id, result }: OperationAnswer): string {
  const { newestGood, firstBad, isPinned, rounds, tests } = result as unknown as BisectResultAnswer;
  const tried = `${count(tests.length, 'point')} in ${count(rounds, 'round')}`;
  return renderDetails([
    ['Bisect', id],
    ['Newest that passes', newestGood ?? 'none'],
    ['First that fails', firstBad ?? 'none: the newest point passes'],
    ['Pinned', yesNo(isPinned)],
    [
      'Tried',
      `${tried}: ${tests.map((test) => `${test.pointId} ${test.passed ? 'passed' : 'failed'}`).join(', ')}`,
    ],
  ]).concat('\n');
}

function renderPointTest({ id }: OperationAnswer, test: PointTestAnswer): string {
  return renderDetails([
    ['Test', `${id} (${test.testId})`],
    ['Point', test.pointId],
    ['Verdict', `${test.passed ? 'passed' : 'failed'}: ${test.summary}`],
    ['VM', test.vmName],
    ['Isolation', `${test.isolation.kind}: ${test.isolation.because}`],
    ['Running', `after ${formatMs(test.runningAfterMs)}`],
    ['Answering', `after ${formatMs(test.answeringAfterMs)}`],
    ['Probes', test.verdicts.map(verdictLine)],
    [
      'Evidence',
      [
        ...test.evidence.map((file) => `${file.name}, ${formatBytes(file.bytes)}`),
        ...test.missingEvidence,
      ],
    ],
    ...(test.isCleanedUp
      ? []
      : [['Left over', 'not cleaned up yet: its host was away; the sweeper does it'] as const]),
  ]);
}

function verdictLine(verdict: PointTestAnswer['verdicts'][number]): string {
  const { probe, passed, why, durationMs } = verdict;
  return `${passed ? 'passed' : 'FAILED'} ${probe} after ${formatMs(durationMs)}: ${why}`;
}
