import { formatInstant } from '../instant.ts';
import type { OperationEvent, OperationRecord } from './operation.ts';

type Named = Pick<OperationRecord, 'id' | 'kind' | 'subject'>;

/**
 * One line for one event, the same in the log, the CLI and the UI:
 * `2026-01-01T00:00:00.000Z op-1 replicate rp-1  step-succeeded freeze (1.2 s)`.
 */
export function formatEvent(event: OperationEvent, operation: Named): string {
  const { at, type, step, message, durationMs } = event;
  const head = `${formatInstant(at)} ${operation.id} ${operation.kind} ${operation.subject}`;
  const what = [type, step, durationMs === null ? null : `(${formatDuration(durationMs)})`];
  const line = `${head}  ${what.filter((part) => part !== null).join(' ')}`;
  return message === '' ? line : `${line}: ${message.replace(/\s*\n\s*/g, ' ')}`;
}

function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
