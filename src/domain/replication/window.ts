/**
 * A time of the day, and days of the week, at which runs of a job may begin by the clock. In UTC, as every time here is: a
 * window must mean the same for whoever reads it, and have every hour once.
 *
 *   22:00-06:00           every day, until the next morning
 *   mon-fri 22:00-06:00   on the nights that begin on these days
 *   sat,sun 00:00-24:00   all day
 */
import { UnderstudyError } from '../error.ts';

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export type ReplicationWindow = {
  /** On which it opens, in the order of the week. */
  readonly days: readonly Weekday[];
  /** Minutes after midnight. */
  readonly fromMinute: number;
  /** Up to and including 1440; before `fromMinute`: on the next day. Never the same. */
  readonly toMinute: number;
};

export const DAY_MINUTES = 24 * 60;

const FORM = /^(?:([a-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)(?: utc)?$/;

/** Throws `invalid-request` with what is wrong and how it is written. */
export function parseWindow(text: string): ReplicationWindow {
  const [, days, ...times] = FORM.exec(text.trim().toLowerCase()) ?? [];
  const [fromHour, fromRest, toHour, toRest] = times.map(Number);
  const fromMinute = minuteOfDay(fromHour, fromRest);
  const toMinute = minuteOfDay(toHour, toRest);
  if (fromMinute === null || toMinute === null || fromMinute === DAY_MINUTES)
    throw unreadable(text);
  if (fromMinute === toMinute) throw unreadable(text, 'it has no length; all day is 00:00-24:00');
  return { days: days === undefined ? WEEKDAYS : parseDays(text, days), fromMinute, toMinute };
}

function minuteOfDay(hour: number | undefined, minute: number | undefined): number | null {
  if (hour === undefined || minute === undefined || minute > 59) return null;
  const minutes = hour * 60 + minute;
  return minutes <= DAY_MINUTES ? minutes : null;
}

/** `mon`, `mon-fri`, `sat-mon` around the end of the week, and several of them with commas between. */
function parseDays(text: string, list: string): readonly Weekday[] {
  const named = new Set<Weekday>();
  for (const range of list.split(',')) {
    const [first = '', last = first, ...rest] = range.split('-');
    const [from, to] = [indexOf(first), indexOf(last)];
    if (from === -1 || to === -1 || rest.length > 0) {
      throw unreadable(text, `${range} is no day of the week`);
    }
    for (let day = from; ; day = (day + 1) % WEEKDAYS.length) {
      named.add(WEEKDAYS[day] as Weekday);
      if (day === to) break;
    }
  }
  return WEEKDAYS.filter((day) => named.has(day));
}

function indexOf(name: string): number {
  return (WEEKDAYS as readonly string[]).indexOf(name);
}

function unreadable(text: string, why?: string): UnderstudyError {
  const forms = 'forms: 22:00-06:00, mon-fri 22:00-06:00, sat,sun 00:00-24:00; times are UTC';
  const because = why === undefined ? '' : `: ${why}`;
  const reason = `The window ${text.slice(0, 120)} cannot be read${because} (${forms})`;
  return new UnderstudyError('invalid-request', { reason });
}

/** As `parseWindow` reads it back. */
export function formatWindow({ days, fromMinute, toMinute }: ReplicationWindow): string {
  const shown = days.length === WEEKDAYS.length ? '' : `${formatDays(days)} `;
  return `${shown}${formatTime(fromMinute)}-${formatTime(toMinute)} UTC`;
}

/** For sentences. */
export function formatWindows(windows: readonly ReplicationWindow[]): string {
  return windows.map(formatWindow).join(', ');
}

function formatDays(days: readonly Weekday[]): string {
  const runs: Weekday[][] = [];
  for (const day of days) {
    const run = runs.at(-1);
    if (run !== undefined && indexOf(run.at(-1) ?? '') + 1 === indexOf(day)) run.push(day);
    else runs.push([day]);
  }
  return runs.map((run) => (run.length === 1 ? run[0] : `${run[0]}-${run.at(-1)}`)).join(',');
}

function formatTime(minute: number): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}
