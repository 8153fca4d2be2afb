/**
 * One new restore point of one VM.
 *
 *   load → admit, prepare target → copy the seed → freeze → move blocks → check → end freeze → seal → define the replica VM
 *        → record → sweep marks → retire old points
 *
 * Until the seal everything is undone on failure, and nothing half-written was ever visible. From the
 * seal on the point exists, and the rest only tidies up: what cannot be tidied now is left to the next run and
 * the sweeper, because a restore point must not be lost to a housekeeping failure. A run that ends without knowing whether
 * it has sealed asks on its way back, and lists the point that is there; until somebody knows, its mark stays.
 */
import { UnderstudyError } from '../domain/error.ts';
import {
  type DiskKey,
  type MarkName,
  type PointId,
  pointId,
  type ReplicaId,
} from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import { apply } from '../domain/replica/phase.ts';
import { seedOfDisk } from '../domain/replication/seed.ts';
import { planTransfer, type TransferPlan } from '../domain/replication/transfer.ts';
import { nextSealedAt, type RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import { NO_RETRY, type OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { FrozenPoint } from '../ports/point-source.ts';
import { actingFor } from './acting-for.ts';
import { admitRun } from './admit-run.ts';
import { checkFit } from './check-fit.ts';
import { cleanUpTarget } from './clean-up.ts';
import { copySeed } from './copy-seed.ts';
import type { EnginePorts } from './engine-ports.ts';
import { findPoints } from './find-points.ts';
import { keptMarks, markOfPoint } from './kept-marks.ts';
import { type MovedDisk, moveBlocks, stageSidecars } from './move-blocks.ts';
import { loadReplica, loadSettings, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { type Rested, restReplica } from './rest-replica.ts';
import { retirePoints } from './retire-points.ts';
import {
  orLeaveToSweeper,
  PATIENCE_MS,
  temporaryChanges,
  UNDO_PATIENCE_MS,
} from './temporaries.ts';

export type PointOrder = {
  readonly replicaId: ReplicaId;
  /** A point that only led up to this one, and goes once this one is there. */
  readonly supersedes: PointId | null;
  /** Whether the job's retention is applied then. */
  readonly appliesRetention: boolean;
  /** Nobody serves meanwhile: marks that are no longer needed are left to the sweeper. */
  readonly isUrgent: boolean;
  /** Ends with `target-full` at the reserve of the target's storage, not only when nothing more can be written there. */
  readonly keepsReserve: boolean;
};

export type MadePoint = {
  readonly pointId: PointId;
  readonly takenAt: Instant;
  readonly sentBytes: number;
  /** The instant of the point before; null when this one is the first. */
  readonly previousTakenAt: Instant | null;
};

export async function makePoint(
  ports: EnginePorts,
  context: OperationContext,
  order: PointOrder,
): Promise<MadePoint> {
  const run = await prepareRun(ports, context, order);
  const seeded = await copySeed(ports, context, run);
  const frozen = await freeze(context, run);
  if (frozen.consistencyNote !== null) {
    await context.note('note-consistency', `Not quiesced: ${frozen.consistencyNote}.`);
  }
  const moved = await moveBlocks(ports, context, { ...run, frozen, seeded });
  const sidecars = await stageSidecars(context, { ...run, frozen, seeded });
  await checkStillFrozen(context, run);
  const isThawed = await endFreeze(context, run);
  const point = await seal(context, run, { ...frozen, sidecars }, moved);
  const rested = await restReplica(ports, context, { ...run, point });
  await recordPoint(context, run, point, rested);
  if (!order.isUrgent) await checkFit(context, { ...run, point });
  const isSwept = !order.isUrgent && (await sweepMarks(context, run, point));
  if (isThawed && isSwept) await releaseFreeze(context, run);
  await retirePoints(ports, context, run, order);
  return {
    pointId: point.id,
    takenAt: point.takenAt,
    sentBytes: point.disks.reduce((sum, disk) => sum + disk.sentBytes, 0),
    previousTakenAt: run.newest?.takenAt ?? null,
  };
}

/** What every step of a run refers to. */
export type Run = ReplicaFacts & {
  readonly settings: Awaited<ReturnType<typeof loadSettings>>;
  readonly source: HostPorts;
  readonly target: HostPorts;
  readonly pointId: RestorePoint['id'];
  readonly temporaries: ReturnType<typeof temporaryChanges>;
  readonly startedAt: Awaited<ReturnType<OperationContext['now']>>;
  readonly keepsReserve: boolean;
  readonly clock: Clock;
  readonly catalog: Catalog;
};

async function prepareRun(
  ports: EnginePorts,
  context: OperationContext,
  { replicaId: id, keepsReserve }: PointOrder,
): Promise<Run> {
  const startedAt = await context.now('started-at');
  const loaded = await loadReplica(ports, context, id, 'replicate');
  const settings = await loadSettings(ports, context, loaded.replica);
  const newPoint = pointId(await context.freshId('point-id', 'pt'));
  const source = await actingFor(ports, id, loaded.replica.sourceHostId);
  const target = await actingFor(ports, id, loaded.replica.targetHostId);
  await cleanUpTarget(ports, context, { ...loaded, settings, target });
  await admitRun(ports, context, { ...loaded, settings, source, target }, keepsReserve);
  const facts = await findPoints(context, loaded, target);
  const { replica } = facts;
  const temporaries = temporaryChanges(context.operationId, replica, newPoint, startedAt);
  await context.record('register-temporaries', temporaries.registered, { undo: 'nothing' });
  const { clock, catalog } = ports;
  const parts = {
    settings,
    source,
    target,
    pointId: newPoint,
    temporaries,
    startedAt,
    keepsReserve,
  };
  return { ...facts, ...parts, clock, catalog };
}

function freeze(context: OperationContext, run: Run): Promise<FrozenPoint> {
  const { replica, newest, settings, source } = run;
  const command = { key: run.temporaries.freezeKey, vmId: replica.sourceVmId };
  return context.step<FrozenPoint>('freeze', {
    do: async ({ signal }) => {
      const vm = await source.hypervisor.vm(replica.sourceVmId, { signal });
      const refused = vm.disks.find((disk) => disk.unsupportedBecause !== null);
      if (refused !== undefined) {
        const reason = refused.unsupportedBecause ?? '';
        throw new UnderstudyError('unsupported-disk', { disk: refused.key, vm: vm.name, reason });
      }
      return source.pointSource.freeze(
        {
          ...command,
          disks: vm.disks.map((disk) => disk.key),
          mark: markOfPoint(run.pointId),
          since: marksOf(newest),
          quiesce: settings.quiesce,
          scratch: settings.scratch,
        },
        { signal },
      );
    },
    undo: async ({ signal }) => {
      const tidying = { clock: run.clock, patienceMs: UNDO_PATIENCE_MS, signal };
      await orLeaveToSweeper(tidying, async (options) => {
        await source.pointSource.end(command, options);
        const sealed = (await run.catalog.points(replica.id)).at(-1) ?? null;
        const keep = await keptMarks(run.catalog, replica, sealed);
        await source.pointSource.sweepMarks({ vmId: replica.sourceVmId, keep }, options);
      });
    },
  });
}

function marksOf(point: RestorePoint | null): Readonly<Record<string, MarkName>> {
  const pairs = point?.disks.flatMap((disk) => (disk.mark === null ? [] : [[disk.key, disk.mark]]));
  return Object.fromEntries(pairs ?? []);
}

/** For each frozen disk what to transfer and why: pure, so the same on every replay. */
export function plansFor(
  move: Pick<Run, 'replica' | 'newest'> & {
    readonly frozen: FrozenPoint;
    readonly seeded: readonly DiskKey[];
  },
): readonly TransferPlan[] {
  const { frozen, newest, seeded } = move;
  const { seed } = move.replica;
  return frozen.disks.map((disk) => {
    const known = newest?.disks.find((candidate) => candidate.key === disk.key) ?? null;
    const seededFrom =
      seed !== null && seeded.includes(disk.key) ? seedOfDisk(seed, disk.key) : null;
    return planTransfer(disk, known, newest !== null, seededFrom);
  });
}

function checkStillFrozen(context: OperationContext, run: Run): Promise<null> {
  const command = { key: run.temporaries.freezeKey, vmId: run.replica.sourceVmId };
  return context.step<null>('check-still-frozen', {
    do: async ({ signal }) => {
      const { isIntact, because } = await run.source.pointSource.check(command, { signal });
      if (isIntact) return null;
      const reason = because ?? 'the frozen instant was lost';
      throw new UnderstudyError('freeze-lost', { vm: run.replica.sourceVmName, reason });
    },
    undo: 'nothing',
    retry: NO_RETRY,
  });
}

function endFreeze(context: OperationContext, run: Run): Promise<boolean> {
  const command = { key: run.temporaries.freezeKey, vmId: run.replica.sourceVmId };
  return context.step<boolean>('end-freeze', {
    do: ({ signal }) =>
      orLeaveToSweeper({ clock: run.clock, patienceMs: PATIENCE_MS, signal }, (options) =>
        run.source.pointSource.end(command, options),
      ),
    undo: 'nothing',
  });
}

async function seal(
  context: OperationContext,
  run: Run,
  frozen: FrozenPoint,
  moved: readonly MovedDisk[],
): Promise<RestorePoint> {
  const sealedAt = nextSealedAt(run.newest, await context.now('sealed-at'));
  return context.step<RestorePoint>('seal', {
    do: ({ key, signal }) =>
      run.target.store.sealPartial(
        {
          key,
          replicaId: run.replica.id,
          epoch: run.replica.epoch,
          point: {
            id: run.pointId,
            takenAt: frozen.takenAt,
            sealedAt,
            consistency: frozen.consistency,
            disks: moved,
            vm: frozen.vm,
            isPinned: false,
          },
          sidecars: frozen.sidecars,
        },
        { signal },
      ),
    undo: 'irreversible',
  });
}

async function recordPoint(
  context: OperationContext,
  run: Run,
  point: RestorePoint,
  rested: Rested,
): Promise<void> {
  const { replica } = run;
  const { vmId, changes } = rested;
  const sealed = apply(
    { ...replica, newestPointId: point.id, targetVmId: vmId, seed: null },
    'point-sealed',
  );
  await context.record(
    'record-point',
    [
      { type: 'point-saved', point },
      savedReplica(sealed, run.version),
      { type: 'condition-cleared', replicaId: replica.id, name: 'rpo-breached' },
      ...changes,
      run.temporaries.partialReleased,
    ],
    { undo: 'irreversible' },
  );
}

function sweepMarks(context: OperationContext, run: Run, point: RestorePoint): Promise<boolean> {
  const { replica, source, clock, catalog } = run;
  return context.step<boolean>('sweep-marks', {
    do: ({ signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, async (options) => {
        const keep = await keptMarks(catalog, replica, point);
        await source.pointSource.sweepMarks({ vmId: replica.sourceVmId, keep }, options);
      }),
    undo: 'nothing',
  });
}

/** Nothing of this run is left at the source: neither the freeze nor a mark that no point names. */
function releaseFreeze(context: OperationContext, run: Run): Promise<void> {
  return context.record('release-freeze', [run.temporaries.freezeReleased], { undo: 'nothing' });
}
