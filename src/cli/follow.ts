/**
 * Waiting for operations. The operation lives in the server: losing the connection, or patience, changes
 * nothing for it. A cut stream is taken up again after the last event seen.
 */
import type { OperationAnswer, OperationEventAnswer, WaitsAnswer } from '../contract/operation.ts';
import type { Client } from './client.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { Failure, interruptedFailure } from './failure.ts';
import type { ProgressDisplay } from './progress-display.ts';
import { findingsLeft } from './results.ts';
import { waitsOf } from './waits.ts';
import type { CliWorld } from './world.ts';

const RECONNECT_ATTEMPTS_MAX = 10;
const RECONNECT_FIRST_MS = 200;
const RECONNECT_MS_MAX = 3000;
/** Each takes a connection and a listener on the interrupt; the others are followed as these end. */
const FOLLOWED_AT_ONCE_MAX = 8;

export type FollowTools = {
  readonly world: CliWorld;
  readonly client: Client;
  readonly display: ProgressDisplay;
  readonly onEvent: (event: OperationEventAnswer, operation: OperationAnswer) => void;
  /** What a queued one waits for, whenever that is something else; null: it waits no more and begins. */
  readonly onWait: (words: string | null, operation: OperationAnswer) => void;
  /** Sequence of the last event that is not news; default 0. */
  readonly after?: number;
};

/**
 * Resolves with the operation once it ended or is suspended. Throws a failure with exit code 130 on Ctrl-C
 * and 69 when the server stays away or hangs, both saying how to go on.
 */
export async function followOperation(
  tools: FollowTools,
  operation: OperationAnswer & Partial<WaitsAnswer>,
): Promise<OperationAnswer> {
  const seen: Seen = { lastSequence: tools.after ?? 0, failures: 0, waitedFor: null };
  tellWait(tools, operation, seen, waitsOf(operation));
  for (;;) {
    try {
      const settled = await readUntilCut(tools, operation, seen);
      if (settled !== null) return settled;
      if (seen.failures >= RECONNECT_ATTEMPTS_MAX) {
        throw new Failure('The server keeps closing the connection.', EXIT.unreachable);
      }
    } catch (error) {
      if (!isWorthAnother(error) || seen.failures >= RECONNECT_ATTEMPTS_MAX) {
        throw withAdvice(error, operation);
      }
    }
    seen.failures += 1;
    await pause(tools.world, seen.failures, operation);
  }
}

function isWorthAnother(error: unknown): boolean {
  return error instanceof Failure && error.exitCode === EXIT.unreachable && !error.isHanging;
}

/** What was told already. */
type Seen = { lastSequence: number; failures: number; waitedFor: string | null };

/** One connection; null when it was cut before the operation settled. */
async function readUntilCut(
  tools: FollowTools,
  operation: OperationAnswer,
  seen: Seen,
): Promise<OperationAnswer | null> {
  const { client, display, onEvent } = tools;
  for await (const message of client.operationEvents(operation.id, seen.lastSequence)) {
    seen.failures = 0;
    if (message.event === 'end') return message.value;
    if (message.event === 'progress') display.progress(operation.title, message.value);
    if (message.event === 'waits') tellWait(tools, operation, seen, waitsOf(message.value));
    if (message.event === 'event') {
      const { sequence, type } = message.value;
      seen.lastSequence = sequence;
      if (type === 'started' || type === 'resumed') tellWait(tools, operation, seen, null);
      onEvent(message.value, operation);
    }
  }
  return null;
}

/** Empty words: it is about to begin, or has to wait after all. */
function tellWait(
  { onWait }: FollowTools,
  operation: OperationAnswer,
  seen: Seen,
  words: string | null,
): void {
  if (words === '' || words === seen.waitedFor) return;
  seen.waitedFor = words;
  onWait(words, operation);
}

/** In the order given; at most a bounded number at once. */
export async function followAll(
  tools: FollowTools,
  operations: readonly OperationAnswer[],
): Promise<readonly OperationAnswer[]> {
  const settled: OperationAnswer[] = [...operations];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < operations.length; index = next++) {
      const operation = operations[index];
      if (operation !== undefined) settled[index] = await followOperation(tools, operation);
    }
  };
  const workers = Math.min(FOLLOWED_AT_ONCE_MAX, operations.length);
  await Promise.all(Array.from({ length: workers }, worker));
  return settled;
}

/**
 * 0 when it succeeded; else what its error calls for. A suspended one can be retried: 1. A verification, test
 * failover or bisect that went through and found nothing good is no success to a script, nor is a rescan that leaves
 * a difference: 1.
 */
export function exitCodeOfOperation(operation: OperationAnswer): number {
  if (operation.state === 'succeeded') return isUnsound(operation) ? EXIT.failed : EXIT.ok;
  if (operation.state === 'cancelled') return EXIT.cancelled;
  if (operation.state === 'failed' && operation.error !== null) {
    return exitCodeOf(operation.error.kind);
  }
  return EXIT.failed;
}

function isUnsound(operation: OperationAnswer): boolean {
  const { result } = operation;
  if (findingsLeft(operation).length > 0) return true;
  if (result === null || typeof result !== 'object') return false;
  if ('isSound' in result && result.isSound === false) return true;
  if ('passed' in result && result.passed === false) return true;
  return 'newestGood' in result && result.newestGood === null;
}

/** While waiting, steps that simply work are shown in passing; what a person should know stays. */
export function showInPassing(display: ProgressDisplay): Pick<FollowTools, 'onEvent' | 'onWait'> {
  const said = new Map<OperationAnswer['id'], string>();
  /** A cause is told where it appears; that it ended the step, the way back and the operation needs no repeating. */
  const unsaid = (event: OperationEventAnswer): OperationEventAnswer => {
    const isRepeated = event.message === said.get(event.operationId);
    if (event.message !== '') said.set(event.operationId, event.message);
    return isRepeated ? { ...event, message: '' } : event;
  };
  const onEvent: FollowTools['onEvent'] = (event, operation) => {
    switch (event.type) {
      case 'step-started':
        return display.step(operation.title, event.step ?? '');
      case 'queued':
      case 'started':
      case 'step-succeeded':
      case 'succeeded':
        return;
      case 'note':
        return display.message(`${operation.title}: ${event.message}`);
      default:
        return display.message(`${operation.title}: ${inShort(unsaid(event))}`);
    }
  };
  const onWait: FollowTools['onWait'] = (words, { title }) =>
    display.message(`${title}: ${words === null ? 'begins' : `waits for ${words}`}`);
  return { onEvent, onWait };
}

function inShort({ type, step, message }: OperationEventAnswer): string {
  const what = step === null ? type : `${type} ${step}`;
  return message === '' ? what : `${what}: ${message}`;
}

async function pause(world: CliWorld, failures: number, operation: OperationAnswer): Promise<void> {
  const delayMs = Math.min(RECONNECT_MS_MAX, RECONNECT_FIRST_MS * 2 ** Math.min(failures, 8));
  try {
    await world.sleep(delayMs, { signal: world.interrupt });
  } catch {
    throw withAdvice(interruptedFailure('Interrupted.'), operation);
  }
}

function withAdvice(error: unknown, { id }: OperationAnswer): unknown {
  if (!(error instanceof Failure)) return error;
  const goesOn = `Follow it with \`understudy operation follow ${id}\`, cancel it with \`understudy operation cancel ${id}\`.`;
  if (error.exitCode === EXIT.interrupted) {
    return interruptedFailure(`Stopped waiting; operation ${id} goes on. ${goesOn}`);
  }
  if (error.exitCode !== EXIT.unreachable) return error;
  const message = `${error.message}\nOperation ${id} was accepted and continues as soon as its server runs. ${goesOn}`;
  return new Failure(message, EXIT.unreachable, { cause: error });
}
