/** Applies retention after a run: a point leaves the catalogue only after the store has let it go. */
import { asUnderstudyError } from '../domain/error.ts';
import type { PointId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import { pointsToRetire } from '../domain/restore-point/retention.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import { beingExported } from './export.ts';
import type { PointOrder, Run } from './make-point.ts';
import { whyLater } from './why-later.ts';

export async function retirePoints(
  ports: EnginePorts,
  context: OperationContext,
  run: Pick<Run, 'replica' | 'settings' | 'target'>,
  { supersedes, appliesRetention }: Pick<PointOrder, 'supersedes' | 'appliesRetention'>,
): Promise<void> {
  const { replica, settings } = run;
  const now = await context.now('retention-at');
  const due = await context.step<readonly PointId[]>('choose-retired', {
    do: async () => {
      const points = await ports.catalog.points(replica.id);
      const counted = points.filter(({ id }) => id !== supersedes);
      const superseded = points.filter(({ id, isPinned }) => id === supersedes && !isPinned);
      const old = appliesRetention ? pointsToRetire(counted, settings.retention, now) : [];
      return [...superseded.map(({ id }) => id), ...old];
    },
    undo: 'nothing',
  });
  await tidyStore(context, run);
  for (const point of due) {
    if (await retire(ports, context, run, point)) {
      const removed = { type: 'point-removed', replicaId: replica.id, pointId: point } as const;
      await context.record(`record-retired-${point}`, [removed], { undo: 'nothing' });
    }
  }
  if (due.length > 0) await refreshPoints(ports, context, run);
}

/** Merging renames layers: the catalogue's points name the layers that there are now. */
async function refreshPoints(
  ports: EnginePorts,
  context: OperationContext,
  { replica, target }: Pick<Run, 'replica' | 'target'>,
): Promise<void> {
  const changed = await context.step<readonly RestorePoint[]>('find-renamed-layers', {
    do: async (attempt) => {
      const there = await pointsThere(target, replica, attempt);
      const recorded = await ports.catalog.points(replica.id);
      return recorded.flatMap((point) => {
        const disks = there.find(({ id }) => id === point.id)?.disks ?? point.disks;
        const isSame = disks.every(({ layerId }, index) => layerId === point.disks[index]?.layerId);
        return isSame ? [] : [{ ...point, disks }];
      });
    },
    undo: 'nothing',
  });
  if (changed.length === 0) return;
  const saved = changed.map((point) => ({ type: 'point-saved', point }) as const);
  await context.record('record-renamed-layers', saved, { undo: 'nothing' });
}

/** None when the store cannot be asked now: then the names are followed after the next retirement. */
async function pointsThere(
  { store }: HostViews,
  { id }: Replica,
  attempt: StepAttempt,
): Promise<readonly RestorePoint[]> {
  try {
    return await store.points(id, attempt);
  } catch (error) {
    whyLater(error, attempt);
    return [];
  }
}

/** False when it has to wait for a later run: a full disk or a host away must not fail the new point's run. */
async function retire(
  ports: EnginePorts,
  context: OperationContext,
  { replica, target }: Pick<Run, 'replica' | 'target'>,
  point: PointId,
): Promise<boolean> {
  const { isGone, because } = await context.step<Retirement>(`retire-${point}`, {
    do: async (attempt) => {
      const { key, signal } = attempt;
      const command = { key, replicaId: replica.id, epoch: replica.epoch, pointId: point };
      if (await isPinned(ports, replica, point)) return { isGone: false, because: PINNED };
      if ((await beingExported(ports, replica)).has(point)) {
        return { isGone: false, because: 'It is being exported.' };
      }
      try {
        await target.store.retirePoint(command, { signal });
        return { isGone: true, because: null };
      } catch (error) {
        const because = whyLater(error, attempt);
        return { isGone: await isUnlisted(target, replica, point, { signal }), because };
      }
    },
    undo: 'nothing',
  });
  if (because !== null) {
    const what = isGone ? 'is retired; its space is freed later' : 'is kept for now';
    await context.note(`note-${point}`, `Restore point ${point} ${what}. ${because}`);
  }
  return isGone;
}

const PINNED = 'It was pinned meanwhile.';

/** Asked at the last moment: choosing what to retire may be long ago, and somebody may want to keep it now. */
async function isPinned({ catalog }: EnginePorts, { id }: Replica, point: PointId) {
  return (await catalog.points(id)).some((known) => known.id === point && known.isPinned);
}

/** False also when the store cannot be asked: what is retired already is retired again by a later run. */
async function isUnlisted(
  { store }: HostViews,
  { id }: Replica,
  point: PointId,
  options: CallOptions,
): Promise<boolean> {
  try {
    return !(await store.points(id, options)).some((listed) => listed.id === point);
  } catch (error) {
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return false;
  }
}

/** A point may be gone although merging its layer failed: the store finishes that when it is tidied. */
type Retirement = { readonly isGone: boolean; readonly because: string | null };

async function tidyStore(
  context: OperationContext,
  { replica, target }: Pick<Run, 'replica' | 'target'>,
): Promise<void> {
  const because = await context.step<string | null>('tidy-store', {
    do: async (attempt) => {
      const { key, signal } = attempt;
      try {
        await target.store.tidy({ key, replicaId: replica.id, epoch: replica.epoch }, { signal });
        return null;
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (because !== null)
    await context.note('note-tidy', `Tidying is left to a later run. ${because}`);
}
