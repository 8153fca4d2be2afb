/**
 * What of an operation's events is worth a line. Steps that succeed are the normal course, the second and third attempt at
 * one say nothing new, and a sweep that found nothing is no event at all.
 */
import type { OperationEvent, OperationRecord } from '../../domain/operation/operation.ts';

type EventNews = (event: OperationEvent, operation: OperationRecord) => string | null;

export function createEventNews(): EventNews {
  const undone = new Map<string, string[]>();
  const retried = new Set<string>();
  const told = new Set<string>();

  /** The message, unless this operation has said it already. */
  function fresh(id: string, message: string): string {
    const known = `${id} ${message}`;
    if (message === '' || told.has(known)) return '';
    told.add(known);
    return `: ${message}`;
  }

  return (event, { id, kind }) => {
    const { type, step, message } = event;
    switch (type) {
      case 'step-retrying': {
        const known = `${id} ${step}`;
        if (retried.has(known)) return null;
        retried.add(known);
        return `${step} is tried again: ${message}`;
      }
      case 'step-failed':
        return `${step} failed${fresh(id, message)}`;
      case 'step-undone':
        undone.set(id, [...(undone.get(id) ?? []), step ?? '']);
        return null;
      case 'failed':
      case 'cancelled': {
        const steps = undone.get(id) ?? [];
        const back = steps.length === 0 ? '' : `, undone: ${steps.join(', ')}`;
        return `${type}${back}${fresh(id, message)}`;
      }
      case 'started':
      case 'succeeded':
        return kind === 'sweep' ? null : type;
      case 'suspended':
      case 'cancel-requested':
        return `${type}${fresh(id, message)}`;
      case 'note':
        return message;
      default:
        return null;
    }
  };
}
