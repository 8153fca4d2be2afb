/**
 * Bisect: boots restore points, several at once, in search of the newest one that passes the probes, and pins it. What
 * to boot next is decided in domain/test-failover/bisect.ts; each round is a batch of test failovers.
 */
import type { PointId } from '../domain/ids.ts';
import { replicaId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import { type Health, nextBisectStep } from '../domain/test-failover/bisect.ts';
import type { PointTest } from '../domain/test-failover/point-test.ts';
import { parseProbe } from '../domain/test-failover/probe.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { numberIn, textIn, textsIn } from './input.ts';
import { loadReplica } from './replica-facts.ts';
import { type TestBatch, testPoints } from './test-points.ts';

export function bisectDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'bisect',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const { replica } = await loadReplica(ports, context, id, 'bisect');
      const target = await actingFor(ports, replica.id, replica.targetHostId);
      const points = await context.step<readonly RestorePoint[]>('load-points', {
        do: () => ports.catalog.points(replica.id),
        undo: 'nothing',
      });
      const probes = textsIn(input, 'probes').map((text) => parseProbe(text));
      const batch = { replica, target, probes, holdSeconds: 0 };
      const search = await searchPoints(ports, context, points, {
        ...batch,
        width: numberIn(input, 'width'),
      });
      const isPinned = await pin(ports, context, replica, search.newestGood);
      return { ...search, isPinned };
    },
  };
}

type Search = {
  readonly newestGood: PointId | null;
  readonly firstBad: PointId | null;
  readonly rounds: number;
  /** In the order in which they were booted. */
  readonly tests: readonly PointTest[];
};

async function searchPoints(
  ports: EnginePorts,
  context: OperationContext,
  all: readonly RestorePoint[],
  { width, ...batch }: Omit<TestBatch, 'points'> & { readonly width: number },
): Promise<Search> {
  const known = new Map<PointId, Health>();
  const tests: PointTest[] = [];
  let left = all;
  for (let rounds = 0; ; rounds += 1) {
    const step = nextBisectStep({ points: left.map(({ id }) => id), known }, width);
    if (step.type === 'found') {
      const { newestGood, firstBad } = step;
      return { newestGood, firstBad, rounds, tests };
    }
    const points = left.filter(({ id }) => step.points.includes(id));
    const results = await context.part(`round-${rounds + 1}`, 'operation', async (part) => {
      const found = await testPoints(ports, part, { ...batch, points });
      await part.note('note-round', roundLine(points, found));
      return found;
    });
    for (const [index, point] of points.entries()) {
      const result = results[index] ?? null;
      // Retired in between: it cannot be the answer any more.
      if (result === null) left = left.filter(({ id }) => id !== point.id);
      else {
        known.set(point.id, result.passed ? 'good' : 'bad');
        tests.push(result);
      }
    }
  }
}

function roundLine(
  points: readonly RestorePoint[],
  results: readonly (PointTest | null)[],
): string {
  const parts = points.map(({ id }, index) => {
    const result = results[index] ?? null;
    return `${id} ${result === null ? 'is gone' : result.passed ? 'passed' : 'failed'}`;
  });
  return `${parts.join(', ')}.`;
}

/** False when there is none, or retention was quicker. */
async function pin(
  { catalog }: EnginePorts,
  context: OperationContext,
  { id }: Replica,
  wanted: PointId | null,
): Promise<boolean> {
  const changes = await context.step<readonly CatalogChange[]>('choose-pinned', {
    do: async () => {
      const points = await catalog.points(id);
      const found = points.filter((point) => point.id === wanted);
      return found.map((point) => ({ type: 'point-saved', point: { ...point, isPinned: true } }));
    },
    undo: 'nothing',
  });
  await context.record('record-pinned', changes, { undo: 'nothing' });
  return changes.length > 0;
}
