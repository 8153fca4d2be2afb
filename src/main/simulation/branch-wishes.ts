/** Moves that people make with what failovers leave behind: hops, archives, exports. */
import { type Instant, instant } from '../../domain/instant.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { ArchivedBranch, Replica } from '../../domain/replica/replica.ts';
import type { Controller } from '../../ports/controller.ts';
import { type Move, pick, type Scene, said } from './scene.ts';
import { BY_HAND } from './site.ts';

const KEEP_MS_MAX = 3 * 24 * 3600 * 1000;

type Chosen = { readonly replica: Replica; readonly archive: ArchivedBranch };

/** A wish about an archived branch of a replica in one of these phases. */
function aboutArchive(
  name: string,
  weight: number,
  phases: readonly Replica['phase'][],
  begin: (controller: Controller, chosen: Chosen, scene: Scene) => Promise<OperationRecord>,
): Move {
  return {
    name,
    weight,
    act: async (scene) => {
      const all = scene.replicas
        .filter(({ phase }) => phases.includes(phase))
        .flatMap((replica) => replica.archives.map((archive) => ({ replica, archive })));
      const chosen = pick(scene, all);
      if (chosen === null) return null;
      const answer = await scene.site.ask((controller) => begin(controller, chosen, scene));
      return said(`${name} ${chosen.archive.branchId} of ${chosen.replica.name}`, answer);
    },
  };
}

/** The same about a restore point. */
function aboutPoint(
  name: string,
  weight: number,
  phases: readonly Replica['phase'][],
  begin: (controller: Controller, replica: Replica, point: string) => Promise<OperationRecord>,
): Move {
  return {
    name,
    weight,
    act: async (scene) => {
      const replica = pick(
        scene,
        scene.replicas.filter(({ phase }) => phases.includes(phase)),
      );
      if (replica === null) return null;
      const point = pick(scene, await scene.site.living.ports.catalog.points(replica.id));
      if (point === null) return null;
      const answer = await scene.site.ask((controller) => begin(controller, replica, point.id));
      return said(`${name} ${replica.name} ${point.id}`, answer);
    },
  };
}

const pointAt = (reference: string) => ({ type: 'reference', reference }) as const;
const order = { point: { type: 'latest' }, reason: 'chance', acceptDuplicate: false } as const;

export const BRANCH_WISHES: readonly Move[] = [
  aboutPoint('hop', 4, ['Failover'], (controller, { id }, point) =>
    controller.hop(id, { ...order, fence: 'none', point: pointAt(point) }, BY_HAND),
  ),
  aboutArchive('hop to archive', 2, ['Failover'], (controller, { replica, archive }) =>
    controller.hop(replica.id, { ...order, fence: 'none', archive: archive.branchId }, BY_HAND),
  ),
  aboutArchive('fail over to archive', 3, ['Ready'], (controller, { replica, archive }) =>
    controller.failover(
      replica.id,
      { ...order, fence: 'power-off', archive: archive.branchId },
      BY_HAND,
    ),
  ),
  aboutArchive('delete archive', 1, ['Ready', 'Failover'], (controller, { replica, archive }) =>
    controller.deleteArchive(replica.id, archive.branchId, BY_HAND),
  ),
  aboutArchive(
    'keep archive',
    1,
    ['Ready', 'Failover'],
    (controller, { replica, archive }, scene) =>
      controller.keepArchive(replica.id, archive.branchId, later(scene), BY_HAND),
  ),
  aboutArchive('export archive', 1, ['Ready', 'Failover'], (controller, { replica, archive }) =>
    controller.exportArchive(replica.id, archive.branchId, BY_HAND),
  ),
  aboutPoint('export', 1, ['Ready', 'Failover'], (controller, { id }, point) =>
    controller.exportPoint(id, pointAt(point), BY_HAND),
  ),
];

function later({ site, random }: Scene): Instant {
  return instant(site.world.clock.now() + 60_000 + random.below(KEEP_MS_MAX));
}
