/** Applies retention after a run: a point leaves the catalogue only after the store has let it go. */
import { asUnderstudyError } from '../domain/error.ts';
import type { PointId } from '../domain/ids.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import { pointsToRetire } from '../domain/restore-point/retention.ts';
import { DEFAULT_RETRY, type OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Run } from './replicate.ts';

export async function retirePoints(
  ports: EnginePorts,
  context: OperationContext,
  run: Pick<Run, 'replica' | 'settings' | 'target'>,
): Promise<void> {
  const { replica, settings } = run;
  const now = await context.now('retention-at');
  const due = await context.step<readonly PointId[]>('choose-retired', {
    do: async () => pointsToRetire(await ports.catalog.points(replica.id), settings.retention, now),
    undo: 'nothing',
  });
  await tidyStore(context, run);
  for (const point of due) {
    if (await retire(context, run, point)) {
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
    do: async ({ signal }) => {
      const there = await target.store.points(replica.id, { signal });
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

/** False when it has to wait for a later run: a full disk or a host away must not fail the new point's run. */
async function retire(
  context: OperationContext,
  { replica, target }: Pick<Run, 'replica' | 'target'>,
  point: PointId,
): Promise<boolean> {
  const { isGone, because } = await context.step<Retirement>(`retire-${point}`, {
    do: async ({ key, signal, attempt }) => {
      const command = { key, replicaId: replica.id, epoch: replica.epoch, pointId: point };
      try {
        await target.store.retirePoint(command, { signal });
        return { isGone: true, because: null };
      } catch (error) {
        const because = whyLater(error, attempt);
        const listed = await target.store.points(replica.id, { signal });
        return { isGone: !listed.some(({ id }) => id === point), because };
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

/** A point may be gone although merging its layer failed: the store finishes that when it is tidied. */
type Retirement = { readonly isGone: boolean; readonly because: string | null };

async function tidyStore(
  context: OperationContext,
  { replica, target }: Pick<Run, 'replica' | 'target'>,
): Promise<void> {
  const because = await context.step<string | null>('tidy-store', {
    do: async ({ key, signal, attempt }) => {
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

/** The sentence for the history; what may help to try again at once is thrown to the engine, which does. */
function whyLater(error: unknown, attempt: number): string {
  const { kind, message } = asUnderstudyError(error);
  if (kind === 'bug' || kind === 'cancelled') throw error;
  if (kind === 'transient' && attempt < DEFAULT_RETRY.attemptsMax) throw error;
  return message;
}
