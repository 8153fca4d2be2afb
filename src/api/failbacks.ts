import type { FailbackPreviewAnswer, FailbackRecordAnswer } from '../contract/failback.ts';
import type { ParsedBody } from '../contract/routes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { FailbackRecord, SwitchoverMode } from '../domain/failover/failback.ts';
import { formatInstant, parseInstant } from '../domain/instant.ts';
import { describeChange } from '../domain/vm/configuration-change.ts';
import type { Controller } from '../ports/controller.ts';
import type { FailbackOrder, FailbackPreview } from '../ports/orders.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer } from './operations.ts';

type Verbs =
  | 'previewFailback'
  | 'failback'
  | 'previewSwitchOver'
  | 'switchOver'
  | 'cancelFailback'
  | 'commitFailback'
  | 'undoFailback';

export function failbackHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    previewFailback: async ({ parameters, body, options }) => {
      const order = failbackOrder(body);
      return previewAnswer(await controller.previewFailback(parameters.replica, order, options));
    },
    failback: async ({ parameters, body, options }) =>
      operationAnswer(await controller.failback(parameters.replica, failbackOrder(body), options)),
    previewSwitchOver: async ({ parameters, options }) =>
      previewAnswer(await controller.previewSwitchOver(parameters.replica, options)),
    switchOver: async ({ parameters, body, options }) => {
      const { applyChanges, ...shutdown } = body;
      const order = { ...shutdown, ...(applyChanges === undefined ? {} : { applyChanges }) };
      return operationAnswer(await controller.switchOver(parameters.replica, order, options));
    },
    cancelFailback: async ({ parameters, options }) =>
      operationAnswer(await controller.cancelFailback(parameters.replica, options)),
    commitFailback: async ({ parameters, options }) =>
      operationAnswer(await controller.commitFailback(parameters.replica, options)),
    undoFailback: async ({ parameters, body, options }) =>
      operationAnswer(await controller.undoFailback(parameters.replica, body, options)),
  };
}

function failbackOrder(body: ParsedBody<'failback'>): FailbackOrder {
  return { ...body, switchover: switchoverMode(body.switchover) };
}

function switchoverMode(mode: ParsedBody<'failback'>['switchover']): SwitchoverMode {
  if (mode.type !== 'at') return mode;
  const at = parseInstant(mode.at);
  if (at !== null) return { type: mode.type, at };
  throw new UnderstudyError('invalid-request', { reason: `${mode.at} is not a time` });
}

function previewAnswer({
  changes,
  home,
  homeHostName: hostName,
  ...rest
}: FailbackPreview): FailbackPreviewAnswer {
  return { ...rest, home: { ...home, hostName }, changes: changes.map(describeChange) };
}

export function failbackAnswer(failback: FailbackRecord, hostName: string): FailbackRecordAnswer {
  const { id, home, startedAt, switchover, passes, syncedAt, syncedBytes, switched } = failback;
  return {
    id,
    home: { ...home, hostName },
    startedAt: formatInstant(startedAt),
    switchover:
      switchover.type === 'at'
        ? { type: switchover.type, at: formatInstant(switchover.at) }
        : { ...switchover },
    passes,
    syncedAt: formatInstant(syncedAt),
    syncedBytes,
    switched:
      switched === null
        ? null
        : {
            pointId: switched.pointId,
            switchedAt: formatInstant(switched.switchedAt),
            changes: switched.changes.map(describeChange),
            runningAfterMs: switched.runningAfterMs,
            answeringAfterMs: switched.answeringAfterMs,
          },
  };
}
