/** Waiting inside an operation: for a message, or just for time. The deadline is journaled when first reached. */
import { instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { Course } from './course.ts';
import { failStep, replayed } from './outcome.ts';
import type { EngineParts } from './parts.ts';
import type { StepRow } from './rows.ts';

type Wait = {
  readonly name: string;
  readonly type: 'receive' | 'sleep';
  /** Null: nothing but time ends it. */
  readonly topic: string | null;
  readonly ms: number;
  /** Whether others may have the operation's slots meanwhile. */
  readonly lendsSlots: boolean;
};

/** The message, or null when time ran out. */
export async function waitInContext(parts: EngineParts, course: Course, wait: Wait): Promise<Json> {
  const { position, row } = course.next(wait.name, wait.type);
  if (row !== undefined && row.outcome !== 'begun') return replayed(course, row);
  return course.track(async (signal) => {
    if (row === undefined) course.requireOnward();
    const remainingMs = await beginWait(parts, course, position, wait, row);
    const untilMs = parts.clock.monotonicMs() + remainingMs;
    try {
      course.requireOnward();
      return await awaitMessage(parts, course, { position, wait, untilMs, signal });
    } catch (error) {
      const failure = { position, name: wait.name, error, durationMs: 0 };
      throw await failStep(parts, course, { ...failure, isAborted: signal.aborted });
    }
  });
}

async function beginWait(
  parts: EngineParts,
  course: Course,
  position: number,
  wait: Wait,
  row: StepRow | undefined,
): Promise<number> {
  const now = parts.clock.now();
  if (row !== undefined) return Math.max(0, (row.deadline ?? now) - now);
  const { name, type, topic, ms } = wait;
  const id = course.operationId;
  await parts.write((emit) => {
    const deadline = instant(now + Math.max(0, Math.ceil(ms)));
    const step = { position, name, type, outcome: 'begun', undo: 'nothing', deadline } as const;
    parts.journal.insertStep(id, step);
    const message = topic === null ? `for ${ms} ms` : `waiting for ${topic}, at most ${ms} ms`;
    emit(id, { type: 'step-started', step: name, message });
  });
  parts.reach(`after-begin-${type}:${name}`);
  return ms;
}

type Awaiting = {
  readonly position: number;
  readonly wait: Wait;
  readonly untilMs: number;
  readonly signal: AbortSignal;
};

async function awaitMessage(
  parts: EngineParts,
  course: Course,
  { position, wait, untilMs, signal }: Awaiting,
): Promise<Json> {
  for (;;) {
    // Asked for before the table is read, so that no message slips in between.
    const arrived = wait.topic === null ? null : course.nextMessage(wait.topic);
    const isOver = parts.clock.monotonicMs() >= untilMs;
    const taken = await takeMessage(parts, course, position, wait, isOver);
    if (taken !== null) {
      parts.reach(`after-${wait.type}:${wait.name}`);
      return taken.body;
    }
    if (wait.lendsSlots) course.lendSlots(true);
    try {
      await pauseUntil(parts, untilMs, arrived, signal);
    } finally {
      if (wait.lendsSlots) course.lendSlots(false);
    }
  }
}

/** Takes the oldest message and ends the step in one transaction; when time is over, ends it without one. */
function takeMessage(
  parts: EngineParts,
  course: Course,
  position: number,
  { name, topic }: Wait,
  isOver: boolean,
): Promise<{ readonly body: Json } | null> {
  const id = course.operationId;
  return parts.write((emit) => {
    const message = topic === null ? null : parts.journal.takeMessage(id, topic);
    if (message === null && !isOver) return null;
    const body = message?.body ?? null;
    parts.journal.completeStep(id, position, body);
    emit(id, {
      type: 'step-succeeded',
      step: name,
      message: topic !== null && message === null ? `no ${topic} in time` : '',
    });
    return { body };
  });
}

async function pauseUntil(
  parts: EngineParts,
  untilMs: number,
  arrived: Promise<void> | null,
  signal: AbortSignal,
): Promise<void> {
  const done = new AbortController();
  const ms = Math.max(0, untilMs - parts.clock.monotonicMs());
  const pause = parts.clock.sleep(ms, { signal: AbortSignal.any([signal, done.signal]) });
  if (arrived === null) return pause;
  try {
    await Promise.race([pause, arrived]);
  } finally {
    // The pause that lost the race rejects; nobody is interested.
    pause.catch(() => {});
    done.abort();
  }
}
