/** Moves that people make: everything that can be asked of Understudy. */
import { hostId } from '../../domain/ids.ts';
import type { SourceFence } from '../../domain/replica/replica.ts';
import type { Controller, PointSelector } from '../../ports/controller.ts';
import type { ChangeJob } from '../../ports/job-orders.ts';
import { JOBS } from './random-world.ts';
import { about, type Begin, type Move, pick, replicaIn, said } from './scene.ts';
import { someSeed } from './seed-wishes.ts';
import { BY_HAND } from './site.ts';

const FENCES: readonly SourceFence[] = ['none', 'nics', 'shutdown', 'power-off'];

export const WISHES: readonly Move[] = [
  about('run', 10, ['Pending', 'Ready'], (controller, { jobId, sourceVmId }) =>
    controller.runJob(jobId ?? '', [sourceVmId], BY_HAND),
  ),
  about('fail over', 7, ['Ready'], async (controller, { id }, { random, site }) => {
    const points = await site.living.ports.catalog.points(id);
    const point: PointSelector = random.chance(0.6)
      ? { type: 'latest' }
      : { type: 'reference', reference: points[random.below(points.length)]?.id ?? 'none' };
    const fence = random.pick(FENCES);
    const [acceptDuplicate, acceptDrift] = [random.chance(0.1), random.chance(0.1)];
    const order = { point, reason: 'chance', fence, acceptDuplicate, acceptDrift };
    return controller.failover(id, order, BY_HAND);
  }),
  about('fail over as planned', 3, ['Pending', 'Ready'], (controller, { id }, { random }) =>
    controller.plannedFailover(
      id,
      {
        reason: 'chance',
        passesMax: 3,
        lastDeltaMsMax: 2000,
        shutdownDeadlineMs: 30_000,
        onMissedDeadline: random.pick(['ask', 'power-off', 'give-up']),
      },
      BY_HAND,
    ),
  ),
  about('undo', 9, ['Failover'], (controller, { id }, { random }) =>
    controller.undoFailover(id, { force: false, keepFence: random.chance(0.2) }, BY_HAND),
  ),
  about('undo by force', 1.5, ['Failover'], (controller, { id }, { random }) =>
    controller.undoFailover(id, { force: true, keepFence: random.chance(0.2) }, BY_HAND),
  ),
  about('hop', 3, ['Failover'], async (controller, { id, archives }, { random, site }) => {
    const points = await site.living.ports.catalog.points(id);
    const reference = points[random.below(points.length)]?.id ?? 'none';
    const wantsArchive = archives.length > 0 && random.chance(0.4);
    const archive = wantsArchive ? random.pick(archives).branchId : null;
    const point: PointSelector = { type: 'reference', reference };
    const common = { reason: 'chance', fence: 'none', acceptDuplicate: false } as const;
    return controller.hop(id, { ...common, point, archive }, BY_HAND);
  }),
  about('fail over to an archive', 2, ['Ready'], (controller, { id, archives }, { random }) =>
    controller.failover(
      id,
      {
        point: { type: 'latest' },
        archive: archives.length === 0 ? null : random.pick(archives).branchId,
        reason: 'chance',
        fence: random.pick(FENCES),
        acceptDuplicate: false,
      },
      BY_HAND,
    ),
  ),
  about('delete an archive of', 1, ['Ready', 'Failover'], (controller, { id, archives }, scene) =>
    controller.deleteArchive(id, pick(scene, archives)?.branchId ?? 'none', BY_HAND),
  ),
  about('export a point of', 1, ['Ready', 'Failover'], (controller, { id }) =>
    controller.exportPoint(id, { type: 'latest' }, BY_HAND),
  ),
  about('make permanent', 0.4, ['Failover'], (controller, { id }) =>
    controller.permanentFailover(id, BY_HAND),
  ),
  about('verify', 2, ['Ready', 'Failover'], (controller, { id }) =>
    controller.verify(id, null, BY_HAND),
  ),
  about('rescan', 2, ['Pending', 'Ready', 'Failover'], (controller, { id }) =>
    controller.rescan(id, false, BY_HAND),
  ),
  about('repair', 2, ['Pending', 'Ready', 'Failover'], (controller, { id }) =>
    controller.rescan(id, true, BY_HAND),
  ),
  about('remove', 0.5, ['Pending', 'Ready'], (controller, { id }) =>
    controller.removeReplica(id, BY_HAND),
  ),
  about('delete', 0.7, ['Pending', 'Ready'], (controller, { id }) =>
    controller.deleteReplica(id, BY_HAND),
  ),
  {
    name: 'protect again',
    weight: 2,
    act: async (scene) => {
      const { site, random } = scene;
      const request = random.pick(JOBS);
      const { controller } = site.living;
      const jobs = await controller.jobs(BY_HAND);
      const present = jobs.find(({ job }) => job.name === request.name);
      if (present !== undefined && present.replicas.length >= request.vms.length) return null;
      const answer = await site.ask(async () => {
        if (present !== undefined) await controller.deleteJob(present.job.id, BY_HAND);
        // A replica that was removed left its VM in place, with its name.
        const replicaSuffix = `${request.replicaSuffix}-${random.hex(3)}`;
        const archiveSeconds = random.pick([600, request.archiveSeconds, 24 * 3600]);
        const seeds = request.vms.flatMap((vm) => {
          const wanted = { sourceVmName: vm, targetHostId: hostId(request.targetHost) };
          const from = random.chance(0.5) ? someSeed(scene, wanted) : null;
          return from === null ? [] : [{ vm, from }];
        });
        await controller.createJob({ ...request, replicaSuffix, archiveSeconds, seeds }, BY_HAND);
        return [];
      });
      return said(`protect again: ${request.name}`, answer);
    },
  },
  {
    name: 'pin',
    weight: 1,
    act: async (scene) => {
      const replica = replicaIn(scene, 'Ready', 'Failover');
      if (replica === null) return null;
      const { catalog } = scene.site.living.ports;
      const point = pick(scene, await catalog.points(replica.id));
      if (point === null) return null;
      const isPinned = !point.isPinned;
      const answer = await scene.site.ask(async (controller) => {
        const at = { type: 'reference', reference: point.id } as const;
        await controller.setPointPinned(replica.id, at, isPinned, BY_HAND);
        return [];
      });
      return said(`${isPinned ? 'pin' : 'unpin'} a point of ${replica.name}`, answer);
    },
  },
  {
    name: 'pause or resume a job',
    weight: 1,
    act: async (scene) => {
      const job = pick(scene, await scene.site.living.ports.catalog.jobs())?.value ?? null;
      if (job === null) return null;
      const answer = await scene.site.ask(async (controller) => {
        await controller.setJobPaused(job.id, !job.isPaused, BY_HAND);
        return [];
      });
      return said(`${job.isPaused ? 'resume' : 'pause'} ${job.name}`, answer);
    },
  },
  {
    name: 'change a job',
    weight: 1,
    act: async (scene) => {
      const { random, site } = scene;
      const job = pick(scene, await site.living.ports.catalog.jobs())?.value ?? null;
      if (job === null) return null;
      const change = random.pick<ChangeJob>([
        { rpoSeconds: random.pick([300, 600, 900]) },
        { retention: { keepLast: 1 + random.below(6) } },
        { networks: { lan: random.pick(['lan', null]) } },
      ]);
      const answer = await site.ask(async (controller) => {
        await controller.changeJob(job.id, change, BY_HAND);
        return [];
      });
      return said(`change ${job.name}: ${JSON.stringify(change)}`, answer);
    },
  },
  onOpen('cancel', 2, ['queued', 'running', 'suspended'], (controller, id) =>
    controller.cancelOperation(id, BY_HAND),
  ),
  onOpen('retry', 4, ['suspended'], (controller, id) => controller.retryOperation(id, BY_HAND)),
  onOpen('answer', 2, ['running'], (controller, id) =>
    controller.answerOperation(id, 'power-off', BY_HAND),
  ),
];

/** A wish about an operation that has not ended. */
function onOpen(
  name: string,
  weight: number,
  states: readonly string[],
  begin: (controller: Controller, id: string) => ReturnType<Begin>,
): Move {
  return {
    name,
    weight,
    act: async (scene) => {
      const open = await scene.site.openOperations();
      const operation = pick(
        scene,
        open.filter(({ state }) => states.includes(state)),
      );
      if (operation === null) return null;
      const { id, kind } = operation;
      const answer = await scene.site.ask((controller) => begin(controller, id));
      return said(`${name} ${kind} ${id}`, answer);
    },
  };
}
