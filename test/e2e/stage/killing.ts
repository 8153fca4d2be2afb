/** Kills the server at the very steps of an operation that a test names. */
import assert from 'node:assert/strict';
import { operationDetailSchema } from '../../../src/contract/operation.ts';
import { until } from '../../../src/rig/until.ts';
import { type EventLog, watchEvents } from './event-log.ts';
import type { Stage } from './open-stage.ts';

type Killed = Pick<Stage, 'server' | 'attempt' | 'ask'>;

/**
 * Begins an operation and kills the server when each of the steps has begun, in their order; between two, and after the
 * last, it is started anew. @returns the id of the operation, known by its first event because the client dies, too.
 */
export async function killAt(
  stage: Killed,
  steps: readonly string[],
  ...args: readonly string[]
): Promise<string> {
  const events = await watchEvents(stage.server.dataFolder);
  const client = stage.attempt([...args, '--no-wait']).catch(() => undefined);
  return killAsItGoes(stage, events, steps, client);
}

/** The same with an operation that begins by itself, or by `client`, after the watch began. */
export async function killAsItGoes(
  stage: Killed,
  events: EventLog,
  steps: readonly string[],
  client?: Promise<unknown>,
): Promise<string> {
  let operationId: string | undefined;
  for (const step of steps) {
    operationId = await begun(stage, events, step, operationId);
    await stage.server.kill9();
    await client;
    await stage.server.restart();
  }
  assert.ok(operationId);
  return operationId;
}

/** The last lines of a server that is killed may not reach its log; the journal has them. */
async function begun(
  stage: Killed,
  events: EventLog,
  step: string,
  operationId?: string,
): Promise<string> {
  const known = operationId === undefined ? {} : { operationId };
  return until(`step ${step} begins`, async () => {
    const wanted = { type: 'step-started', step, ...known };
    const logged = await events.next(wanted, { deadlineMs: 2000 }).catch(() => undefined);
    if (logged !== undefined) return logged.operationId;
    if (operationId === undefined) return undefined;
    const args = ['operation', 'show', operationId];
    const { history } = await stage.ask(args, operationDetailSchema);
    return history.some((event) => event.step === step) ? operationId : undefined;
  });
}
