import { UnderstudyError } from '../domain/error.ts';
import { type Instant, instant, parseInstant } from '../domain/instant.ts';
import type { PointSelector } from '../ports/controller.ts';

/** `latest`, a time, or anything else as an id. An id never looks like a time: it begins with its prefix. */
export function pointSelector(text: string): PointSelector {
  if (text === 'latest') return { type: 'latest' };
  const moment = parseInstant(text);
  if (moment !== null) return { type: 'at', instant: endOf(text, moment) };
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return { type: 'reference', reference: text };
  const reason = `The time ${text} cannot be read: write a day that there is, and the time with its zone, such as 2026-03-01T12:00:00Z or 2026-03-01T12:00:00+01:00`;
  throw new UnderstudyError('invalid-request', { reason });
}

/** Tables show whole seconds: a point must be found by the time that it is shown with. */
function endOf(text: string, moment: Instant): Instant {
  return /:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})$/.test(text) ? instant(moment + 999) : moment;
}
