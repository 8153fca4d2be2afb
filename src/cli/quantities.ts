/** What people write for durations, times, sizes, tiers and networks. Most throw a usage failure that shows the form. */
import { usageFailure } from './failure.ts';

const SECONDS_OF: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
  w: 7 * 86_400,
};

/** `90s`, `15m`, `1h30m`, `2d`. */
export function parseSeconds(text: string, option: string): number {
  if (!/^(?:\d{1,9}[smhdw])+$/.test(text)) {
    throw usageFailure(`${option} takes a duration such as 90s, 15m, 1h30m or 2d, not "${text}".`);
  }
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([smhdw])/g)) {
    seconds += Number(count) * (SECONDS_OF[unit ?? ''] ?? 0);
  }
  return seconds;
}

const MOMENT =
  /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

/** `2026-03-01` (in UTC), `2026-03-01T12:00:00Z`, also with a blank for the `T`; as it goes on the wire. Null: no time. */
export function parseMoment(text: string): string | null {
  if (!MOMENT.test(text)) return null;
  const at = Date.parse(text.replace(' ', 'T'));
  return Number.isNaN(at) || !isDay(text.slice(0, 10)) ? null : new Date(at).toISOString();
}

/** The thirty-first of February would be read as the third of March. */
function isDay(text: string): boolean {
  return new Date(text).toISOString().startsWith(text);
}

const BYTES_OF: Readonly<Record<string, number>> = {
  '': 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

/** `4096`, `50MiB`, `1.5GiB`, `20G`: always binary units. */
export function parseBytes(text: string, option: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s?(?:([kmgt])(?:i?b)?|b)?$/i.exec(text);
  const bytes = Math.round(Number(match?.[1]) * (BYTES_OF[match?.[2]?.toLowerCase() ?? ''] ?? 1));
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw usageFailure(`${option} takes a size such as 512KiB, 50MiB or 1.5GiB, not "${text}".`);
  }
  return bytes;
}

/** `1h:1d`: one point per hour for a day. */
export function parseTier(text: string): { everySeconds: number; forSeconds: number } {
  const [every, length, ...rest] = text.split(':');
  if (every === undefined || length === undefined || rest.length > 0) {
    throw usageFailure(`--keep-tier takes EVERY:FOR such as 1h:1d, not "${text}".`);
  }
  return {
    everySeconds: parseSeconds(every, '--keep-tier'),
    forSeconds: parseSeconds(length, '--keep-tier'),
  };
}

/** Source to target: `lan=recovery-lan`, or `lan=` to leave the NIC disconnected (null). */
export function parseNetworks(texts: readonly string[]): Record<string, string | null> {
  const pairs = new Map<string, string | null>();
  for (const [source, target] of texts.map(parseNetwork)) {
    if (pairs.has(source)) throw usageFailure(`--network names ${source} twice.`);
    pairs.set(source, target);
  }
  return Object.fromEntries(pairs);
}

function parseNetwork(text: string): readonly [string, string | null] {
  const at = text.indexOf('=');
  if (at < 1) throw usageFailure(`--network takes SOURCE=TARGET or SOURCE=, not "${text}".`);
  const target = text.slice(at + 1);
  return [text.slice(0, at), target === '' ? null : target];
}

export function parseCount(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    throw usageFailure(`${option} takes a whole number from 0 on, not "${text}".`);
  }
  return Number(text);
}
