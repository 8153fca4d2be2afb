/** A moment as milliseconds since 1970-01-01T00:00:00Z, by the clock of whoever wrote it down. */
export type Instant = number & { readonly instant: unique symbol };

export function instant(millisecondsSinceEpoch: number): Instant {
  if (!Number.isSafeInteger(millisecondsSinceEpoch)) {
    throw new RangeError(`not an instant: ${millisecondsSinceEpoch}`);
  }
  return millisecondsSinceEpoch as Instant;
}

/** ISO 8601 in UTC with milliseconds: the one written form of an instant. */
export function formatInstant(value: Instant): string {
  return new Date(value).toISOString();
}

/**
 * Reads the written form, and any other date that carries a zone or is a plain UTC date, also as tables show it, with a blank for the
 * `T`; null if it is none, or of a day that its month does not have, which would be read as one of the next month.
 */
export function parseInstant(text: string): Instant | null {
  if (!/^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)) {
    return null;
  }
  const value = Date.parse(text.replace(' ', 'T'));
  if (Number.isNaN(value)) return null;
  const day = text.slice(0, 10);
  return new Date(day).toISOString().startsWith(day) ? instant(value) : null;
}
