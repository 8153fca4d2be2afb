/** Moves that people make to prove restore points, and to keep a source from meeting its replica. */
import type { ReplicaId } from '../../domain/ids.ts';
import type { SourceFence } from '../../domain/replica/replica.ts';
import { type Probe, parseProbe } from '../../domain/test-failover/probe.ts';
import type { PointSelector } from '../../ports/controller.ts';
import { about, type Move, pick, type Scene, said } from './scene.ts';
import { BY_HAND } from './site.ts';

const TESTABLE = ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'] as const;
const PROBES: readonly (readonly Probe[])[] = [
  [],
  [parseProbe('agent@60s')],
  [parseProbe('http:80@60s')],
  [parseProbe('agent@60s'), parseProbe('tcp:22@60s'), parseProbe('command:/bin/check@90s')],
];
const FENCES: readonly Exclude<SourceFence, 'none'>[] = ['nics', 'shutdown', 'power-off'];

export const TEST_WISHES: readonly Move[] = [
  about('test', 3, TESTABLE, async (controller, { id }, scene) => {
    const order = { probes: scene.random.pick(PROBES), holdSeconds: scene.random.below(300) };
    return controller.testFailover(id, { ...order, points: await somePoints(scene, id) }, BY_HAND);
  }),
  about('bisect', 1.5, TESTABLE, (controller, { id }, { random }) =>
    controller.bisect(id, random.pick(PROBES), BY_HAND),
  ),
  about('fence the source of', 2.5, ['Failover'], (controller, { id }, { random }) =>
    controller.fenceSource(id, random.pick(FENCES), BY_HAND),
  ),
  about('lift the fence of', 1.5, ['Failover'], (controller, { id }, { random }) =>
    controller.unfenceSource(id, random.chance(0.5), BY_HAND),
  ),
  {
    name: 'end a test',
    weight: 1,
    act: async (scene) => {
      const open = await scene.site.openOperations();
      const test = pick(
        scene,
        open.filter(({ kind }) => kind === 'test-failover'),
      );
      if (test === null) return null;
      const answer = await scene.site.ask((controller) => controller.endTest(test.id, BY_HAND));
      return said(`end test ${test.id}`, answer);
    },
  },
];

/** One to three; the same one twice is one test. */
async function somePoints(
  { site, random }: Scene,
  id: ReplicaId,
): Promise<readonly PointSelector[]> {
  const points = await site.living.ports.catalog.points(id);
  return Array.from({ length: 1 + random.below(3) }, (): PointSelector => {
    const point = points[random.below(points.length)];
    return point === undefined ? { type: 'latest' } : { type: 'reference', reference: point.id };
  });
}
