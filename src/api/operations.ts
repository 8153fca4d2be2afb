import type {
  OperationAnswer,
  OperationEventAnswer,
  OperationProgressAnswer,
  SeenOperationAnswer,
  WaitsAnswer,
} from '../contract/operation.ts';
import { formatInstant, type Instant } from '../domain/instant.ts';
import { formatEvent } from '../domain/operation/format-event.ts';
import type {
  Json,
  OperationEvent,
  OperationProgress,
  OperationRecord,
} from '../domain/operation/operation.ts';
import type { Controller } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';

type Verbs =
  | 'listOperations'
  | 'showOperation'
  | 'retryOperation'
  | 'answerOperation'
  | 'cancelOperation';

const DEFAULT_LIMIT = 50;

export function operationHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    listOperations: async ({ query, options }) => {
      const operations = await controller.operations(
        {
          subject: query.subject ?? null,
          kind: query.kind ?? null,
          open: query.open === 'true',
          limit: query.limit === undefined ? DEFAULT_LIMIT : Number(query.limit),
        },
        options,
      );
      const waits = await controller.waits(operations, options);
      return { items: operations.map((operation) => seenOperationAnswer(operation, waits)) };
    },
    showOperation: async ({ parameters, options }) => {
      const operation = await controller.operation(parameters.operation, options);
      const history = await controller.history(operation.id, 0, options);
      const waits = await controller.waits([operation], options);
      return {
        ...seenOperationAnswer(operation, waits),
        history: history.map((event) => eventAnswer(event, operation)),
      };
    },
    retryOperation: async ({ parameters, options }) =>
      operationAnswer(await controller.retryOperation(parameters.operation, options)),
    answerOperation: async ({ parameters, body, options }) =>
      operationAnswer(await controller.answerOperation(parameters.operation, body.answer, options)),
    cancelOperation: async ({ parameters, options }) =>
      operationAnswer(await controller.cancelOperation(parameters.operation, options)),
  };
}

/** The input is left out: it is the engine's own form and may change from version to version. */
export function operationAnswer(operation: OperationRecord): OperationAnswer {
  return {
    id: operation.id,
    kind: operation.kind,
    subject: operation.subject,
    title: operation.title,
    state: operation.state,
    result: mutable(operation.result),
    error: operation.error === null ? null : errorAnswer(operation.error),
    isCancelRequested: operation.isCancelRequested,
    createdAt: formatInstant(operation.createdAt),
    startedAt: instantOrNull(operation.startedAt),
    endedAt: instantOrNull(operation.endedAt),
  };
}

export type Waits = Awaited<ReturnType<Controller['waits']>>;

export function seenOperationAnswer(operation: OperationRecord, waits: Waits): SeenOperationAnswer {
  return { ...operationAnswer(operation), ...waitsAnswer(operation, waits) };
}

export function waitsAnswer({ id: of }: OperationRecord, waits: Waits): WaitsAnswer {
  const waitsFor = (waits.get(of) ?? []).map(({ heldBy, ...wait }) => ({
    ...wait,
    heldBy: heldBy.map(({ id, kind, title, state }) => ({ id, kind, title, state })),
  }));
  return { waitsFor };
}

function errorAnswer(error: NonNullable<OperationRecord['error']>) {
  const { code, kind, message, details } = error;
  return { code, kind, message, details: { ...details } };
}

export function eventAnswer(
  event: OperationEvent,
  operation: OperationRecord,
): OperationEventAnswer {
  return { ...event, at: formatInstant(event.at), line: formatEvent(event, operation) };
}

export function progressAnswer(progress: OperationProgress): OperationProgressAnswer {
  return { ...progress };
}

function instantOrNull(value: Instant | null): string | null {
  return value === null ? null : formatInstant(value);
}

/** The same value without `readonly`, which the contract's types do not know. */
function mutable(value: Json): OperationAnswer['result'] {
  return value as OperationAnswer['result'];
}
