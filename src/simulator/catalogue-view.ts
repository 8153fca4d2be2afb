/** What the observers of the invariants are told by the catalogue and the journal of a living controller. */
import type { ReplicaId } from '../domain/ids.ts';
import type { ConditionName } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { Durable } from '../ports/durable.ts';
import type { CatalogueView } from './checkers.ts';

/** More than any run in a simulated world begins. */
const OPERATIONS_MAX = 100_000;

export async function readCatalogue({
  catalog,
  durable,
}: {
  readonly catalog: Catalog;
  readonly durable: Durable;
}): Promise<Omit<CatalogueView, 'acknowledged' | 'acceptedDuplicates'>> {
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  const points = new Map<ReplicaId, readonly RestorePoint[]>();
  const conditions = new Map<ReplicaId, readonly ConditionName[]>();
  for (const { id } of replicas) {
    points.set(id, await catalog.points(id));
    conditions.set(
      id,
      (await catalog.conditions(id)).map(({ name }) => name),
    );
  }
  const operations = await durable.operations({ limit: OPERATIONS_MAX });
  const hosts = (await catalog.hosts()).map(({ value }) => value);
  const guarded = hosts.filter(({ startGuard }) => startGuard !== null).map(({ id }) => id);
  const temporaries = await catalog.temporaries();
  const guardedHosts = new Set(guarded);
  return { replicas, points, conditions, operations, temporaries, guardedHosts };
}
