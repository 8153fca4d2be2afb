/** Tests only: runs one operation through any number of deaths of the engine, at points chosen by number. */
import { operationId } from '../../../domain/ids.ts';
import type { Json, OperationRecord } from '../../../domain/operation/operation.ts';
import type { CatalogChange } from '../../../ports/catalog.ts';
import type { Durable, OperationContext, OperationRequest } from '../../../ports/durable.ts';
import { createSqliteHarness, type SqliteHarness } from './harness.ts';

export type Shape = {
  readonly run: (context: OperationContext, stage: Stage) => Promise<Json>;
  /** Called in each life once the operation exists; must be harmless to repeat. */
  readonly afterStart?: (engine: Durable, life: number) => Promise<void>;
};

export type Stage = {
  /** What happened in the world, over all lives. */
  readonly world: string[];
  readonly engine: () => Durable;
};

export type Ending = {
  readonly record: OperationRecord;
  readonly world: readonly string[];
  readonly applied: readonly CatalogChange[];
  readonly events: readonly string[];
  readonly sequences: readonly number[];
  /** Names of all points that were come by in the last life. */
  readonly points: readonly string[];
  /** Rows of claims and messages that are left. */
  readonly leftovers: number;
};

export const STORY_ID = operationId('op-story');

const REQUEST: OperationRequest = {
  id: STORY_ID,
  kind: 'replicate',
  subject: 'rp-1',
  title: 'Story',
  input: null,
  claims: { exclusive: ['replica:rp-1'], slots: [{ name: 'host', limit: 1 }] },
};

/** `deaths[n]`: the engine of life n dies at that many points after its beginning; the life after the last is whole. */
export async function playThrough(shape: Shape, deaths: readonly number[]): Promise<Ending> {
  await using harness = createSqliteHarness();
  const world: string[] = [];
  for (let life = 0; ; life += 1) {
    const points: string[] = [];
    const record = await live({ harness, shape, world, points, life, deathAt: deaths[life] });
    if (record !== null) return await ending(harness, record, world, points);
  }
}

type Life = {
  readonly harness: SqliteHarness;
  readonly shape: Shape;
  readonly world: string[];
  readonly points: string[];
  readonly life: number;
  readonly deathAt: number | undefined;
};

/** Null when it died before the operation settled. */
async function live(settings: Life): Promise<OperationRecord | null> {
  const { harness, shape, world, points, life, deathAt } = settings;
  const died = Promise.withResolvers<null>();
  const engine = await harness.open({
    onCrashPoint(point) {
      points.push(point);
      if (points.length - 1 !== deathAt) return;
      died.resolve(null);
      throw new Error('killed');
    },
  });
  const stage: Stage = { world, engine: () => engine };
  engine.register({ kind: 'replicate', run: (context) => shape.run(context, stage) });
  const story = async () => {
    await engine.resume();
    await engine.start(REQUEST);
    await shape.afterStart?.(engine, life);
    return settle(engine);
  };
  const over = Promise.withResolvers<void>();
  void keepTimeMoving(harness, over.promise);
  try {
    return await Promise.race([story(), died.promise]);
  } finally {
    over.resolve();
    await harness.crash();
  }
}

/** Retries what is suspended on the way back until it is through; a suspension on the way forward is an end here. */
async function settle(engine: Durable): Promise<OperationRecord> {
  for (;;) {
    const record = await engine.settled(STORY_ID, { signal: AbortSignal.timeout(5000) });
    const history = await engine.history(STORY_ID, 0);
    const isGoingBack = history.some(({ type }) => type === 'compensating');
    if (record.state !== 'suspended' || !isGoingBack) return record;
    await engine.retry(STORY_ID);
  }
}

async function keepTimeMoving({ clock }: SqliteHarness, over: Promise<void>): Promise<void> {
  let isOver = false;
  void over.then(() => {
    isOver = true;
  });
  while (!isOver) await clock.advance(100);
}

async function ending(
  harness: SqliteHarness,
  record: OperationRecord,
  world: readonly string[],
  points: readonly string[],
): Promise<Ending> {
  const engine = await harness.open();
  const history = await engine.history(STORY_ID, 0);
  const rows = harness
    .database()
    .prepare('SELECT (SELECT count(*) FROM claim) + (SELECT count(*) FROM message) AS n')
    .get();
  return {
    record,
    world: [...world],
    applied: await harness.applied(),
    events: history.map(({ type, step }) => (step === null ? type : `${type} ${step}`)),
    sequences: history.map(({ sequence }) => sequence),
    points,
    leftovers: Number(rows?.n),
  };
}
