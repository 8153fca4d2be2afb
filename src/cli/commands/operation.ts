import type { Command } from 'commander';
import type {
  OperationAnswer,
  OperationDetailAnswer,
  OperationEventAnswer,
  SeenOperationAnswer,
} from '../../contract/operation.ts';
import {
  choice,
  choiceArgument,
  group,
  leaf,
  notEmpty,
  type Runner,
  type WaitOptions,
  waitOptions,
} from '../command-tree.ts';
import { escapeText, safeJson } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { exitCodeOfOperation, type FollowTools, followOperation } from '../follow.ts';
import { formatTime } from '../format.ts';
import { parseCount } from '../quantities.ts';
import { resultLines } from '../results.ts';
import { exitCodeOfAll, type Session } from '../session.ts';
import { renderDetails, renderTable } from '../table.ts';
import { waitsOf } from '../waits.ts';

type ListOptions = {
  readonly open?: boolean;
  readonly subject?: string;
  readonly kind?: OperationAnswer['kind'];
  readonly limit?: string;
};

const KINDS = [
  'replicate',
  'failover',
  'planned-failover',
  'undo-failover',
  'permanent-failover',
  'failback',
  'catch-up-failback',
  'switch-over',
  'cancel-failback',
  'commit-failback',
  'undo-failback',
  'remove-replica',
  'delete-replica',
  'rescan',
  'verify',
  'test-failover',
  'bisect',
  'sweep',
  'hop',
  'export',
  'keep-archive',
  'delete-archive',
  'fence-source',
  'unfence-source',
  'change-job',
] as const satisfies readonly OperationAnswer['kind'][];

export function operationCommands(program: Command, runner: Runner): void {
  const operation = group(program, 'operation', 'What was asked for, and how far it is', [
    'operation list --open',
    'operation follow op-4f2a',
  ]);
  listCommand(operation, runner);

  const show = leaf(operation, 'show <operation>', 'Show an operation with its history', [
    'operation show op-4f2a',
  ]);
  runner.run(show, async ({ client, show }, [id = '']) => {
    show(await client.call('showOperation', { parameters: { operation: id } }), renderDetail);
    return undefined;
  });

  followCommand(operation, runner);
  retryCommand(operation, runner);
  answerCommand(operation, runner);
  cancelCommand(operation, runner);
}

function listCommand(operation: Command, runner: Runner): void {
  const list = leaf(operation, 'list', 'List operations, newest first', [
    'operation list --open',
    'operation list --kind failover --limit 5',
  ])
    .option('--open', 'only those that have not ended')
    .option('--subject <id>', 'only those of this replica, job or host', notEmpty)
    .addOption(choice('--kind <kind>', 'only of this kind', KINDS))
    .option('--limit <count>', 'at most this many (default: 50)');
  runner.run<ListOptions>(list, async ({ client, showList }, _none, options) => {
    const { open, subject, kind, limit } = options;
    const query = {
      open: open === true ? ('true' as const) : undefined,
      subject,
      kind,
      limit: limit === undefined ? undefined : String(parseCount(limit, '--limit')),
    };
    showList((await client.call('listOperations', { query })).items, renderOperations);
    return undefined;
  });
}

/** The history is the data here, so it goes to stdout, a line per event. */
function followCommand(operation: Command, runner: Runner): void {
  const follow = leaf(
    operation,
    'follow <operation>',
    'Print the history of an operation as it grows, until it has ended.\nWith -o json or ndjson: one JSON object per line. The exit code tells how it ended.',
    ['operation follow op-4f2a', 'operation follow op-4f2a -o ndjson | jq .type'],
  );
  runner.run(follow, async (session, [id = '']) => {
    const { client, display, world, options } = session;
    const record = await client.call('showOperation', { parameters: { operation: id } });
    try {
      const onEvent = (event: OperationEventAnswer): void => {
        display.close();
        const isTable = options.output === 'table';
        const line = isTable ? escapeText(event.line) : safeJson(event);
        world.stdout.write(`${line}\n`);
      };
      const onWait = (words: string | null): void =>
        display.message(words === null ? 'Begins.' : `Waits for ${words}.`);
      const tools = { world, client, display, onEvent, onWait };
      const settled = await followOperation(tools, record);
      sayOutcome(session, settled);
      return exitCodeOfOperation(settled);
    } finally {
      display.close();
    }
  });
}

function retryCommand(operation: Command, runner: Runner): void {
  const retry = waitOptions(
    leaf(operation, 'retry <operation>', 'Run a suspended operation again from where it failed', [
      'operation retry op-4f2a',
    ]),
  );
  runner.run<WaitOptions>(retry, async (session, [id = ''], { wait }) => {
    const after = await newsAfter(session, id);
    const accepted = await session.client.call('retryOperation', { parameters: { operation: id } });
    return settleAndShow(session, accepted, wait, { after });
  });
}

function answerCommand(operation: Command, runner: Runner): void {
  const answer = waitOptions(
    leaf(
      operation,
      'answer <operation>',
      'Tell an operation that asked what to do, such as a planned failover whose guest does not shut down.\nAn answer that comes early counts when it asks.',
      ['operation answer op-4f2a wait', 'operation answer op-4f2a power-off'],
    ).addArgument(choiceArgument('<answer>', 'what to do', ANSWERS)),
  );
  runner.run<WaitOptions>(answer, async (session, [id = '', said = ''], { wait }) => {
    const chosen = ANSWERS.find((candidate) => candidate === said) ?? 'wait';
    const after = await newsAfter(session, id);
    const accepted = await session.client.call('answerOperation', {
      parameters: { operation: id },
      body: { answer: chosen },
    });
    return settleAndShow(session, accepted, wait, { after });
  });
}

const ANSWERS = ['wait', 'power-off', 'give-up'] as const;

function cancelCommand(operation: Command, runner: Runner): void {
  const cancel = waitOptions(
    leaf(
      operation,
      'cancel <operation>',
      'Ask an operation to stop and undo what it did.\nA suspended one is given up: it ends as failed and undoes nothing.',
      ['operation cancel op-4f2a'],
    ),
  );
  runner.run<WaitOptions>(cancel, async (session, [id = ''], { wait }) => {
    const after = await newsAfter(session, id);
    const accepted = await session.client.call('cancelOperation', {
      parameters: { operation: id },
    });
    const [settled = accepted] = await session.settle([accepted], wait, { after });
    session.show(settled, renderOperation);
    // Stopping is what was asked for; only an operation that is stuck is a failure of it.
    return settled.state === 'suspended' ? EXIT.failed : EXIT.ok;
  });
}

/** What happened to an operation before this command, a failure above all, must not read as if it were happening now. */
async function newsAfter({ client }: Session, id: string): Promise<number> {
  const { history } = await client.call('showOperation', { parameters: { operation: id } });
  return history.at(-1)?.sequence ?? 0;
}

/** The end of every command that begins one operation. */
export async function settleAndShow(
  session: Session,
  accepted: OperationAnswer,
  wait: boolean,
  following: Pick<FollowTools, 'after'> = {},
): Promise<number> {
  const [settled = accepted] = await session.settle([accepted], wait, following);
  session.show(settled, renderOperation);
  if (wait) sayOutcome(session, settled);
  return exitCodeOfAll([settled], wait);
}

/**
 * The end of every command that begins several, `asked` of each: what one of them is refused for is said, and the others are
 * waited for all the same. Throws the first refusal.
 */
export async function settleAndShowAll(
  session: Session,
  asked: readonly Promise<OperationAnswer>[],
  { wait, show }: WaitOptions & { readonly show: (settled: readonly OperationAnswer[]) => void },
): Promise<number> {
  const answers = await Promise.allSettled(asked);
  const accepted = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const [refused, ...more] = answers.filter((one) => one.status === 'rejected');
  if (accepted.length === 0 && refused !== undefined) throw refused.reason;
  const settled = await session.settle(accepted, wait);
  show(settled);
  for (const { reason } of more) if (reason instanceof Error) session.say(reason.message);
  if (refused !== undefined) throw refused.reason;
  return exitCodeOfAll(settled, wait);
}

function sayOutcome({ say }: Session, operation: OperationAnswer): void {
  const { title, state, error } = operation;
  if (error !== null) say(`${title} is ${state}: ${error.message}`);
  if (state === 'suspended') say(nextOf(operation));
}

/** With what they wait for where they were looked at, and one of them has to wait. */
export function renderOperations(
  operations: readonly (OperationAnswer & Partial<Pick<SeenOperationAnswer, 'waitsFor'>>)[],
): string {
  const waits = { header: 'WAITS FOR', cell: waitsOf } as const;
  return renderTable(operations, [
    { header: 'ID', cell: (operation) => operation.id },
    { header: 'STATE', cell: (operation) => operation.state },
    { header: 'BEGAN', cell: (operation) => formatTime(operation.createdAt) },
    { header: 'WHAT', cell: (operation) => operation.title },
    { header: 'ERROR', cell: errorOf },
    ...(operations.some((operation) => waitsOf(operation) !== '') ? [waits] : []),
  ]);
}

export function renderOperation(operation: OperationAnswer): string {
  return renderDetails([
    ['Operation', operation.id],
    ['What', operation.title],
    ['State', `${operation.state}${operation.isCancelRequested ? ', asked to stop' : ''}`],
    ['Accepted', formatTime(operation.createdAt)],
    ['Began', formatTime(operation.startedAt)],
    ['Ended', formatTime(operation.endedAt)],
    ...(errorOf(operation) === '' ? [] : [['Error', errorOf(operation)] as const]),
    ...(operation.result === null ? [] : [['Result', resultLines(operation)] as const]),
  ]);
}

/** One that is tried again has its former error until it begins. */
function errorOf({ state, error }: OperationAnswer): string {
  return state === 'queued' ? '' : (error?.message ?? '');
}

function renderDetail(operation: OperationDetailAnswer): string {
  const lines = operation.history.map(({ line }) => line);
  const next = operation.state === 'suspended' ? [['Next', nextOf(operation)] as const] : [];
  const { waitsFor } = operation;
  const waits = waitsFor.length === 0 ? [] : [waitsFor.map(({ message }) => message)];
  return (
    renderOperation(operation) +
    renderDetails([
      ...waits.map((messages) => ['Waits for', messages] as const),
      ...next,
      ['History', lines],
    ])
  );
}

function nextOf({ id }: OperationAnswer): string {
  return `When the cause is gone: \`understudy operation retry ${id}\`. To give it up: \`understudy operation cancel ${id}\`.`;
}
