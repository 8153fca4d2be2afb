/** A stage for tests of a durable engine: an engine that can crash, and a world outside that remembers. */
import { test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { type HostId, hostId, type OperationId, operationId } from '../../domain/ids.ts';
import type { Json, OperationKind, OperationRecord } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import {
  type Claims,
  type Durable,
  NO_RETRY,
  type OperationContext,
  type Step,
} from '../../ports/durable.ts';
import type { DurableHarness } from '../durable.ts';

export type DurableTest = { readonly createHarness: () => Promise<DurableHarness> };

export type Run = (context: OperationContext, input: Json) => Promise<Json>;

export type Story = {
  readonly harness: DurableHarness;
  /** The current engine. */
  readonly engine: () => Durable;
  /** What happened in the world, in order. */
  readonly world: string[];
  /** Says what operations of a kind do, now and after every reopening. */
  define(run: Run, kind?: OperationKind): void;
  start(name: string, more?: StartOptions): Promise<OperationRecord>;
  settled(name: string): Promise<OperationRecord>;
  /** Types of all events with their steps: `step-undone freeze`. */
  history(name: string): Promise<string[]>;
  crashAndResume(): Promise<void>;
  closeAndResume(): Promise<void>;
};

export type StartOptions = {
  readonly kind?: OperationKind;
  readonly subject?: string;
  readonly claims?: Partial<Claims>;
  readonly input?: Json;
};

export function storyTest(
  { createHarness }: DurableTest,
  name: string,
  tell: (story: Story) => Promise<void>,
): void {
  test(name, { timeout: 10_000 }, async () => {
    await using harness = await createHarness();
    const story = await createStory(harness);
    await tell(story);
    await story.engine().close();
  });
}

async function createStory(harness: DurableHarness): Promise<Story> {
  const runs = new Map<OperationKind, Run>();
  let engine = await harness.open();
  const world: string[] = [];

  async function reopen(): Promise<void> {
    engine = await harness.open();
    for (const [kind, run] of runs) engine.register({ kind, run });
    await engine.resume();
  }

  return {
    harness,
    engine: () => engine,
    world,
    define(run, kind = 'replicate') {
      runs.set(kind, run);
      engine.register({ kind, run });
    },
    start: (name, more = {}) =>
      engine.start({
        id: named(name),
        kind: more.kind ?? 'replicate',
        subject: more.subject ?? 'rp-1',
        title: `Story ${name}`,
        input: more.input ?? null,
        claims: { exclusive: [], slots: [], ...more.claims },
      }),
    settled: (name) => engine.settled(named(name), { signal: AbortSignal.timeout(5000) }),
    async history(name) {
      const events = await engine.history(named(name), 0);
      return events.map(({ type, step }) => (step === null ? type : `${type} ${step}`));
    },
    async crashAndResume() {
      await harness.crash();
      await reopen();
    },
    async closeAndResume() {
      await engine.close();
      await reopen();
    },
  };
}

export function named(name: string): OperationId {
  return operationId(`op-${name}`);
}

export function host(name: string): HostId {
  return hostId(name);
}

export function removal(name: string): CatalogChange {
  return { type: 'host-removed', hostId: host(name) };
}

/** A step that leaves `do NAME` and, when undone, `undo NAME` in the world. */
export function marking(story: Story, name: string, more: Partial<Step<Json>> = {}): Step<Json> {
  return {
    do: async () => {
      story.world.push(`do ${name}`);
      return name;
    },
    undo: async () => {
      story.world.push(`undo ${name}`);
    },
    retry: NO_RETRY,
    ...more,
  };
}

/** Fails for good. */
export function failing(story: Story, name: string, more: Partial<Step<Json>> = {}): Step<Json> {
  return marking(story, name, {
    do: async () => {
      story.world.push(`fail ${name}`);
      throw new UnderstudyError('vm-not-off', { vm: name });
    },
    ...more,
  });
}

/** Begins, says so, and goes on when the gate is opened; a signal ends it with `cancelled`. */
export function gated(story: Story, name: string, gate: Gate): Step<Json> {
  return marking(story, name, {
    do: async ({ signal }) => {
      story.world.push(`begin ${name}`);
      gate.reached.resolve();
      await Promise.race([gate.opened.promise, whenAborted(signal)]);
      story.world.push(`do ${name}`);
      return name;
    },
  });
}

export type Gate = {
  readonly reached: PromiseWithResolvers<void>;
  readonly opened: PromiseWithResolvers<void>;
};

export function gate(): Gate {
  return { reached: Promise.withResolvers(), opened: Promise.withResolvers() };
}

export function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(new UnderstudyError('cancelled'));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
