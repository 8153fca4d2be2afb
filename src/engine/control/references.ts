/** Finds what a person means: an id, a unique name, or the unique beginning of an id. */
import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import type { Host } from '../../domain/host/host.ts';
import { type HostId, operationId } from '../../domain/ids.ts';
import type { Job } from '../../domain/job/job.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { Catalog, Versioned } from '../../ports/catalog.ts';
import type { PointSelector, Reference } from '../../ports/controller.ts';
import type { Durable } from '../../ports/durable.ts';

type Named = { readonly id: string; readonly name: string };

/** The order of lists: names, and where they are the same, ids. By code units, so that it is the same everywhere. */
export function byName(a: Named, b: Named): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}

/** An error that lists a thousand operations helps nobody. */
const CANDIDATES_NAMED = 5;

/** Exact ids win over names, names over beginnings; two candidates of one rank are `ambiguous-reference`. */
export function resolve<T extends Named>(
  items: readonly T[],
  reference: Reference,
  missing: () => UnderstudyError,
): T {
  const ranks = [
    items.filter((item) => item.id === reference),
    items.filter((item) => item.name === reference),
    reference === '' ? [] : items.filter((item) => item.id.startsWith(reference)),
  ];
  const candidates = ranks.find((rank) => rank.length > 0) ?? [];
  if (candidates.length > 1) {
    throw ambiguous(reference, candidates);
  }
  const [found] = candidates;
  if (found === undefined) throw missing();
  return found;
}

function ambiguous(reference: Reference, candidates: readonly Named[]): UnderstudyError {
  const named = candidates
    .slice(0, CANDIDATES_NAMED)
    .map(({ id, name }) => (id === name ? id : `${id} (${name})`));
  const more = candidates.length - named.length;
  const all = more > 0 ? [...named, `${more} more`] : named;
  return new UnderstudyError('ambiguous-reference', { reference, candidates: all.join(', ') });
}

function missing(code: ErrorCode, noun: string, reference: Reference): () => UnderstudyError {
  return () => new UnderstudyError(code, { [noun]: reference });
}

export async function findHost(catalog: Catalog, reference: Reference): Promise<Versioned<Host>> {
  return findVersioned(
    await catalog.hosts(),
    reference,
    missing('host-missing', 'host', reference),
  );
}

export async function findJob(catalog: Catalog, reference: Reference): Promise<Versioned<Job>> {
  return findVersioned(await catalog.jobs(), reference, missing('job-missing', 'job', reference));
}

/** A removed replica is found by its id only: its name may be in use again. */
export async function findReplica(
  catalog: Catalog,
  reference: Reference,
): Promise<Versioned<Replica>> {
  const all = await catalog.replicas();
  const named = all.filter(({ value }) => value.id === reference || isListed(all, value));
  return findVersioned(named, reference, missing('replica-missing', 'replica', reference));
}

/** A permanent one gives way to the replica that has its name now. */
function isListed(all: readonly Versioned<Replica>[], { phase, name }: Replica): boolean {
  if (phase !== 'Permanent') return phase !== 'Removed';
  return !all.some(({ value }) => value.name === name && isReplica(value));
}

function isReplica({ phase }: Replica): boolean {
  return phase !== 'Permanent' && phase !== 'Removed';
}

function findVersioned<T extends Named>(
  records: readonly Versioned<T>[],
  reference: Reference,
  notFound: () => UnderstudyError,
): Versioned<T> {
  const value = resolve(
    records.map((record) => record.value),
    reference,
    notFound,
  );
  const found = records.find((record) => record.value === value);
  if (found === undefined) throw notFound();
  return found;
}

export function findVm(vms: readonly VmSummary[], reference: Reference, host: string): VmSummary {
  return resolve(vms, reference, () => new UnderstudyError('vm-missing', { vm: reference, host }));
}

/** `latest`, the newest point not younger than a moment, or an id. `points` is oldest first. */
export function findPoint(
  points: readonly RestorePoint[],
  selector: PointSelector,
  replica: Replica,
): RestorePoint {
  const notFound = (point: string) => () =>
    new UnderstudyError('point-missing', { replica: replica.name, point });
  if (selector.type === 'reference') {
    const named = points.map((point) => ({ id: point.id, name: point.id, point }));
    return resolve(named, selector.reference, notFound(selector.reference)).point;
  }
  const found =
    selector.type === 'latest'
      ? points.at(-1)
      : points.findLast((point) => point.takenAt <= selector.instant);
  if (found === undefined) throw notFound(points.length === 0 ? 'yet' : 'so old')();
  return found;
}

/** Beginnings of ids are looked for among so many; a whole id is found however old it is. */
const OPERATIONS_SEARCHED = 1000;

async function operationOf(
  durable: Durable,
  reference: Reference,
): Promise<OperationRecord | null> {
  try {
    return await durable.operation(operationId(reference));
  } catch (error) {
    if (asUnderstudyError(error).code === 'invalid-id') return null;
    throw error;
  }
}

export async function findOperation(
  durable: Durable,
  reference: Reference,
): Promise<OperationRecord> {
  const exact = await operationOf(durable, reference);
  if (exact !== null) return exact;
  const recent = await durable.operations({ limit: OPERATIONS_SEARCHED });
  const named = recent.map((operation) => ({ id: operation.id, name: operation.id, operation }));
  return resolve(named, reference, missing('operation-missing', 'operation', reference)).operation;
}

/** For people; the id of a host that is not known any more. */
export async function hostNameOf(catalog: Catalog, id: HostId): Promise<string> {
  return (await catalog.host(id))?.value.name ?? id;
}
