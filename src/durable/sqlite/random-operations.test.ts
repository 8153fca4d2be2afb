/** Any operation, with any failures, killed anywhere: it settles, and what was begun is exactly what is undone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { removal } from '../../conformance/durable/story.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { OperationContext, RetryPolicy } from '../../ports/durable.ts';
import { type Ending, playThrough, STORY_ID, type Stage } from './testing/crash-stage.ts';

const QUICK: RetryPolicy = { attemptsMax: 2, firstDelayMs: 100, delayMsMax: 100 };

type Planned = {
  readonly type: 'step' | 'record' | 'note' | 'sleep' | 'now';
  /** How often the effect fails before it succeeds; more than the policy allows: it fails for good. */
  readonly transientFailures: number;
  readonly isFatal: boolean;
  readonly undo: 'call' | 'nothing' | 'irreversible';
  readonly undoFailures: number;
  readonly isCancelling: boolean;
};

const planned: fc.Arbitrary<Planned> = fc.record({
  type: fc.oneof(
    { weight: 5, arbitrary: fc.constant('step' as const) },
    { weight: 2, arbitrary: fc.constant('record' as const) },
    { weight: 1, arbitrary: fc.constantFrom('note' as const, 'sleep' as const, 'now' as const) },
  ),
  transientFailures: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(2)),
  isFatal: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.boolean()),
  undo: fc.oneof(
    { weight: 6, arbitrary: fc.constant('call' as const) },
    fc.constant('nothing' as const),
    fc.constant('irreversible' as const),
  ),
  undoFailures: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(3)),
  isCancelling: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.boolean()),
});

type Plan = readonly Planned[];

async function perform(context: OperationContext, stage: Stage, plan: Plan): Promise<null> {
  for (const [index, entry] of plan.entries()) {
    const name = `s${index}`;
    if (entry.type === 'step') await performStep(context, stage, name, entry);
    if (entry.type === 'record')
      await context.record(name, [removal(name)], recordUndo(name, entry));
    if (entry.type === 'note') await context.note(name, 'note');
    if (entry.type === 'sleep') await context.sleep(name, 150);
    if (entry.type === 'now') await context.now(name);
  }
  return null;
}

function recordUndo(name: string, { undo }: Planned) {
  return { undo: undo === 'call' ? [removal(`un${name}`)] : undo };
}

async function performStep(
  context: OperationContext,
  { world, engine }: Stage,
  name: string,
  entry: Planned,
): Promise<void> {
  /** Counted in the world, since what fails there does not care for our restarts. */
  const fail = (line: string, times: number) => {
    world.push(line);
    if (world.filter((other) => other === line).length > times) return;
    throw new UnderstudyError('connection-lost', { endpoint: line });
  };
  await context.step(name, {
    do: async ({ key }) => {
      assert.equal(key, `${STORY_ID}/${name}`);
      if (entry.isCancelling)
        await engine()
          .cancel(STORY_ID)
          .catch(() => {});
      fail(`do ${name}`, entry.transientFailures);
      if (entry.isFatal) throw new UnderstudyError('vm-not-off', { vm: name });
      return name;
    },
    undo: entry.undo === 'call' ? async () => fail(`undo ${name}`, entry.undoFailures) : entry.undo,
    retry: QUICK,
  });
}

function check(plan: Plan, { record, events, world, applied, sequences, leftovers }: Ending): void {
  const steps = (type: string) =>
    events.flatMap((e) => (e.startsWith(`${type} `) ? [e.split(' ')[1] ?? ''] : []));
  const nameOf = (index: number) => `s${index}`;
  const begun = steps('step-started');
  const succeeded = steps('step-succeeded');
  const undone = steps('step-undone');
  const entryOf = (name: string) => plan[Number(name.slice(1))];
  const records = succeeded.filter((name) => entryOf(name)?.type === 'record');
  const isBeyondReturn = succeeded.some(
    (name) =>
      entryOf(name)?.undo === 'irreversible' &&
      ['step', 'record'].includes(entryOf(name)?.type ?? ''),
  );

  assert.deepEqual(
    sequences,
    sequences.map((_, index) => index + 1),
  );
  for (const name of succeeded) {
    assert.equal(succeeded.filter((other) => other === name).length, 1, 'succeeds once');
    if (entryOf(name)?.type === 'step') assert.ok(world.includes(`do ${name}`));
  }
  for (const line of world) {
    if (line.startsWith('do '))
      assert.ok(begun.includes(line.slice(3)), 'journaled before it is done');
  }
  const undoable = [...new Set([...begun, ...records])].filter((name) => {
    const entry = entryOf(name);
    return entry?.undo === 'call' && (entry.type === 'step' || entry.type === 'record');
  });
  const newestFirst = undoable.sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)));
  const isBack = record.state === 'failed' || record.state === 'cancelled';
  assert.deepEqual(undone, isBack ? newestFirst : []);
  const undoneInWorld = new Set(
    world.filter((line) => line.startsWith('undo ')).map((line) => line.slice(5)),
  );
  assert.deepEqual(undoneInWorld, new Set(undone.filter((name) => entryOf(name)?.type === 'step')));
  const undoneRecords = undone.filter((name) => entryOf(name)?.type === 'record');
  assert.deepEqual(applied, [
    ...records.map(removal),
    ...undoneRecords.map((name) => removal(`un${name}`)),
  ]);

  if (record.state === 'succeeded') {
    const all = plan.map((_, index) => nameOf(index));
    const performed = all.filter((name) =>
      ['step', 'record', 'sleep'].includes(entryOf(name)?.type ?? ''),
    );
    assert.deepEqual(succeeded, performed);
  }
  assert.equal(record.state === 'suspended', leftovers > 0);
  assert.ok(['succeeded', 'failed', 'cancelled', 'suspended'].includes(record.state));
  if (isBack) assert.equal(isBeyondReturn, false);
  if (record.state === 'suspended') assert.equal(isBeyondReturn, true);
}

test('random operations, failures and crashes keep the promises', async () => {
  const plans = fc.array(planned, { minLength: 1, maxLength: 7 });
  const deaths = fc.array(fc.nat(30), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(plans, deaths, async (plan, at) => {
      const ending = await playThrough(
        { run: (context, stage) => perform(context, stage, plan) },
        at,
      );
      check(plan, ending);
    }),
    { numRuns: Number(process.env.RANDOM_RUNS ?? 150) },
  );
});
