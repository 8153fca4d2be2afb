/**
 * When the windows of a job are open: overlapping and adjoining ones joined to stretches, which repeat every week. No
 * windows at all: always.
 *
 *     mon            tue            wed
 *     │      ██████████████         │ ██      two windows, the night's and an early one: two stretches
 */
import { type Instant, instant } from '../instant.ts';
import type { PreflightFinding } from '../vm/preflight.ts';
import { DAY_MINUTES, formatWindows, type ReplicationWindow, WEEKDAYS } from './window.ts';

const MINUTE_MS = 60_000;
const DAY_MS = DAY_MINUTES * MINUTE_MS;
const WEEK_MS = 7 * DAY_MS;
/** 1970-01-01 was a Thursday. */
const EPOCH_IN_WEEK_MS = 3 * DAY_MS;

export type Windows = readonly ReplicationWindow[];

/** From when, inclusive, until when, exclusive. */
export type Stretch = { readonly opensAt: Instant; readonly closesAt: Instant };

/** The first instant, not before `at`, at which they are open. */
export function nextOpening(windows: Windows, at: Instant): Instant {
  if (windows.length === 0) return at;
  const waits = stretches(windows).map(({ fromMs, lengthMs }) => {
    const sinceMs = within(weekMs(at) - fromMs);
    return sinceMs < lengthMs ? 0 : WEEK_MS - sinceMs;
  });
  return instant(at + Math.min(...waits));
}

/** The stretch that ended last, at `at` or before, when they are closed; null where there are no windows. */
export function lastStretch(windows: Windows, at: Instant): Stretch | null {
  let found: Stretch | null = null;
  for (const { fromMs, lengthMs } of stretches(windows)) {
    const closesAt = instant(at - within(weekMs(at) - fromMs - lengthMs));
    if (found !== null && found.closesAt >= closesAt) continue;
    found = { opensAt: instant(closesAt - lengthMs), closesAt };
  }
  return found;
}

/** The longest time from a closing to the next opening; 0: they never close. */
export function longestClosedMs(windows: Windows): number {
  const ends = stretches(windows).map(({ fromMs, lengthMs }) =>
    instant(inEpoch(fromMs + lengthMs)),
  );
  return Math.max(0, ...ends.map((end) => nextOpening(windows, end) - end));
}

/** What is to be said before a job is made whose windows cannot keep its RPO; null: they can. */
export function windowFinding(windows: Windows, rpoSeconds: number): PreflightFinding | null {
  const closedMs = longestClosedMs(windows);
  if (closedMs === 0 || closedMs < rpoSeconds * 1000) return null;
  const minutes = closedMs / MINUTE_MS;
  const rest = minutes % 60 === 0 ? '' : ` ${minutes % 60} min`;
  const message =
    `No run begins by the clock outside ${formatWindows(windows)}, for up to ${Math.floor(minutes / 60)} h${rest}: the newest ` +
    `restore point becomes older than the RPO of ${rpoSeconds} s each time. Widen the windows, or give a longer RPO.`;
  return { severity: 'warns', element: 'windows', message };
}

type WeeklyStretch = { fromMs: number; lengthMs: number };

function stretches(windows: Windows): readonly WeeklyStretch[] {
  const spans = windows.flatMap(spansOf).sort((a, b) => a.fromMs - b.fromMs);
  const joined: WeeklyStretch[] = [];
  for (const span of spans) {
    const last = joined.at(-1);
    if (last === undefined || !join(last, span)) joined.push({ ...span });
  }
  return joinEnds(joined);
}

/** What opens on Sunday may reach into what opens on Monday. */
function joinEnds(joined: readonly WeeklyStretch[]): readonly WeeklyStretch[] {
  const last = joined.at(-1);
  let begin = 0;
  for (const first of joined.slice(0, -1)) {
    if (!last || !join(last, { ...first, fromMs: first.fromMs + WEEK_MS })) break;
    begin += 1;
  }
  return joined.slice(begin);
}

function spansOf({ days, fromMinute, toMinute }: ReplicationWindow): readonly WeeklyStretch[] {
  const minutes =
    toMinute > fromMinute ? toMinute - fromMinute : toMinute - fromMinute + DAY_MINUTES;
  return days.map((day) => ({
    fromMs: WEEKDAYS.indexOf(day) * DAY_MS + fromMinute * MINUTE_MS,
    lengthMs: minutes * MINUTE_MS,
  }));
}

/** Makes the first as long as both together, if the second, which does not begin earlier, touches it. */
function join(one: WeeklyStretch, next: Readonly<WeeklyStretch>): boolean {
  if (next.fromMs > one.fromMs + one.lengthMs) return false;
  one.lengthMs = Math.max(one.lengthMs, next.fromMs + next.lengthMs - one.fromMs);
  return true;
}

/** How far the instant is into its week, which begins on Monday. */
function weekMs(at: Instant): number {
  return within(at + EPOCH_IN_WEEK_MS);
}

/** An instant of the first whole week that is so far in. */
function inEpoch(ms: number): number {
  return within(ms - EPOCH_IN_WEEK_MS);
}

function within(ms: number): number {
  return ((ms % WEEK_MS) + WEEK_MS) % WEEK_MS;
}
