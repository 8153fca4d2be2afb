import assert from 'node:assert/strict';
import { test } from 'node:test';
import { removal, whenAborted } from '../../conformance/durable/story.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { Json, OperationState } from '../../domain/operation/operation.ts';
import type { RetryPolicy, Step } from '../../ports/durable.ts';
import {
  type Ending,
  playThrough,
  type Shape,
  STORY_ID,
  type Stage,
} from './testing/crash-stage.ts';

const QUICK: RetryPolicy = { attemptsMax: 3, firstDelayMs: 100, delayMsMax: 100 };

function marking({ world }: Stage, name: string, more: Partial<Step<Json>> = {}): Step<Json> {
  return {
    do: async () => world.push(`do ${name}`),
    undo: async () => void world.push(`undo ${name}`),
    retry: QUICK,
    ...more,
  };
}

function failing({ world }: Stage, name: string): Partial<Step<Json>> {
  return {
    do: async () => {
      world.push(`do ${name}`);
      throw new UnderstudyError('vm-not-off', { vm: name });
    },
  };
}

type Case = Shape & {
  readonly name: string;
  readonly state: OperationState;
  /** Effects that must have happened at least once, and no other ones. */
  readonly effects: readonly string[];
  /** Hosts removed by recorded changes: exactly once each, in this order. */
  readonly applied: readonly string[];
  /** Steps that were undone, in order, exactly once each. */
  readonly undone: readonly string[];
};

const CASES: readonly Case[] = [
  {
    name: 'everything succeeds',
    async run(context, stage) {
      await context.now('now');
      await context.step('a', marking(stage, 'a'));
      await context.record('r', [removal('h1')], { undo: [removal('h2')] });
      await context.freshId('id', 'pt');
      await context.note('n', 'note');
      await context.step('b', marking(stage, 'b', { undo: 'irreversible' }));
      await context.record('s', [removal('h3')], { undo: 'irreversible' });
      return context.step('c', marking(stage, 'c'));
    },
    state: 'succeeded',
    effects: ['do a', 'do b', 'do c'],
    applied: ['h1', 'h3'],
    undone: [],
  },
  {
    name: 'a step fails and all is undone',
    async run(context, stage) {
      await context.step('a', marking(stage, 'a'));
      await context.record('r', [removal('h1')], { undo: [removal('h2')] });
      await context.step('b', marking(stage, 'b'));
      await context.step('c', marking(stage, 'c', { undo: 'nothing' }));
      return context.step('d', marking(stage, 'd', failing(stage, 'd')));
    },
    state: 'failed',
    effects: ['do a', 'do b', 'do c', 'do d', 'undo d', 'undo b', 'undo a'],
    applied: ['h1', 'h2'],
    undone: ['d', 'b', 'r', 'a'],
  },
  {
    name: 'a failure past the point of no return suspends',
    async run(context, stage) {
      await context.step('a', marking(stage, 'a'));
      await context.step('b', marking(stage, 'b', { undo: 'irreversible' }));
      return context.step('c', marking(stage, 'c', failing(stage, 'c')));
    },
    state: 'suspended',
    effects: ['do a', 'do b', 'do c'],
    applied: [],
    undone: [],
  },
  {
    name: 'a cancel in the middle',
    async run(context, stage) {
      await context.step('a', marking(stage, 'a'));
      await context.step('b', {
        ...marking(stage, 'b'),
        do: async ({ signal }) => {
          stage.world.push('do b');
          void stage.engine().cancel(STORY_ID);
          return whenAborted(signal);
        },
      });
      return context.step('c', marking(stage, 'c'));
    },
    state: 'cancelled',
    effects: ['do a', 'do b', 'undo b', 'undo a'],
    applied: [],
    undone: ['b', 'a'],
  },
  {
    name: 'messages and pauses',
    async run(context, stage) {
      const first = await context.receive('m', 't', 1e9);
      await context.sleep('s', 200);
      await context.step('a', marking(stage, 'a'));
      const none = await context.receive('n', 'never', 300);
      return [first, none];
    },
    // A repeated message would only be kept, since one is received.
    afterStart: (engine) => engine.send(STORY_ID, 't', 'go'),
    state: 'succeeded',
    effects: ['do a'],
    applied: [],
    undone: [],
  },
  {
    name: 'transient errors, a handled failure and stubborn undos',
    async run(context, stage) {
      const flaky = async (name: string, times: number) => {
        stage.world.push(name);
        const tries = stage.world.filter((line) => line === name).length;
        if (tries <= times) throw new UnderstudyError('connection-lost', { endpoint: name });
        return null;
      };
      await context.step('a', { ...marking(stage, 'a'), do: () => flaky('do a', 2) });
      await context.step('b', marking(stage, 'b', failing(stage, 'b'))).catch(() => {});
      const undo = async () => void (await flaky('undo c', 4));
      await Promise.all([
        context.step('c', marking(stage, 'c', { undo })),
        context.step('d', marking(stage, 'd')),
      ]);
      throw new Error('the function gives up');
    },
    state: 'failed',
    effects: ['do a', 'do b', 'do c', 'do d', 'undo d', 'undo c', 'undo b', 'undo a'],
    applied: [],
    undone: ['d', 'c', 'b', 'a'],
  },
];

function check(ending: Ending, expected: Case): void {
  assert.equal(ending.record.state, expected.state);
  assert.deepEqual(new Set(ending.world), new Set(expected.effects));
  assert.deepEqual(ending.applied, expected.applied.map(removal));
  const undone = ending.events.filter((line) => line.startsWith('step-undone'));
  assert.deepEqual(
    undone,
    expected.undone.map((step) => `step-undone ${step}`),
  );
  assert.deepEqual(
    ending.sequences,
    ending.sequences.map((_, index) => index + 1),
  );
  assert.equal(ending.events.filter((line) => line === expected.state).length, 1);
  assert.equal(ending.leftovers, expected.state === 'suspended' ? 1 : 0);
}

for (const expected of CASES) {
  test(`killed at every point: ${expected.name}`, async () => {
    const whole = await playThrough(expected, []);
    check(whole, expected);
    assert.ok(whole.points.length >= 5);
    for (const [index, point] of whole.points.entries()) {
      const ending = await playThrough(expected, [index]);
      try {
        check(ending, expected);
        // Killed again early in the next life, where it reads what it wrote.
        check(await playThrough(expected, [index, 0, 1]), expected);
      } catch (error) {
        throw new Error(`killed at point ${index}, ${point}`, { cause: error });
      }
    }
  });
}
