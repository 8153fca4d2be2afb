/** Where the time of an operation went: its history tells how long each step took. */
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import { median, table } from './figures.ts';

/** From its beginning to its end, as the server recorded both. */
export function durationMs({ startedAt, endedAt, id }: OperationDetailAnswer): number {
  if (startedAt === null || endedAt === null) throw new Error(`operation ${id} has not ended`);
  return Date.parse(endedAt) - Date.parse(startedAt);
}

/** Zero for a step that was not taken. */
export function stepMs({ history }: OperationDetailAnswer, step: string): number {
  const done = history.filter(({ type }) => type === 'step-succeeded');
  const ofStep = done.filter((event) => event.step !== null && kindOf(event.step) === step);
  return ofStep.reduce((sum, { durationMs }) => sum + (durationMs ?? 0), 0);
}

/** Some are named after the point that they are about. */
function kindOf(step: string): string {
  return step.replace(/-pt-[0-9a-z]+$/, '');
}

/** When the step was done, in milliseconds from the request. */
export function doneAfterMs(operation: OperationDetailAnswer, step: string): number {
  const { history, createdAt, id } = operation;
  const done = history.find((event) => event.step === step && event.type === 'step-succeeded');
  if (done === undefined) throw new Error(`operation ${id} did not come to ${step}`);
  return Date.parse(done.at) - Date.parse(createdAt);
}

/** Medians per step, in order; what is left of the duration is the journal's and the engine's. */
export function tabulateSteps(operations: readonly OperationDetailAnswer[]): void {
  const names = new Set(
    operations.flatMap(({ history }) =>
      history.flatMap(({ type, step }) =>
        type === 'step-succeeded' && step ? [kindOf(step)] : [],
      ),
    ),
  );
  const rows = [...names].map((step) => ({
    step,
    ms: median(operations.map((operation) => stepMs(operation, step))),
  }));
  const told = rows.filter(({ ms }) => ms >= 1);
  const whole = median(operations.map(durationMs));
  const rest = whole - told.reduce((sum, { ms }) => sum + ms, 0);
  table([
    ...told.map(({ step, ms }) => [`  ${step}`, `${ms.toFixed(0)} ms`]),
    ['  everything else', `${rest.toFixed(0)} ms`],
    ['  whole', `${whole.toFixed(0)} ms`],
  ]);
}
