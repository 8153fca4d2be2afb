/** What a takeover starts from: a restore point, or an archived branch of one that may be gone by now. */
import { UnderstudyError } from '../domain/error.ts';
import type { BranchId, DiskKey, PointId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { ReplicaFacts } from './replica-facts.ts';

export type Basis = {
  readonly id: PointId;
  readonly vm: VmDescription;
  readonly disks: readonly { readonly key: DiskKey }[];
};

type Wanted = { readonly pointId: PointId | null; readonly archiveId: BranchId | null };
type Facts = Pick<ReplicaFacts, 'replica' | 'newest'> & { readonly target: HostViews };

/** Throws `point-missing`, `branch-missing`, `invalid-request`. */
export function loadBasis(
  ports: EnginePorts,
  context: OperationContext,
  facts: Facts,
  wanted: Wanted,
): Promise<Basis> {
  const { archiveId } = wanted;
  return context.step<Basis>('load-point', {
    do: ({ signal }) =>
      archiveId === null
        ? pointBasis(ports, facts, wanted.pointId)
        : archiveBasis(ports, facts, archiveId, { signal }),
    undo: 'nothing',
  });
}

/** Whoever asked for the latest gets it, also when the run that had to end first has made a newer one, or retired it. */
async function pointBasis(
  { catalog }: EnginePorts,
  { replica, newest }: Facts,
  wanted: PointId | null,
): Promise<Basis> {
  const points = await catalog.points(replica.id);
  const found = wanted === null ? newest : points.find((candidate) => candidate.id === wanted);
  if (found !== null && found !== undefined) return found;
  const point = wanted ?? 'latest';
  throw new UnderstudyError('point-missing', { replica: replica.name, point });
}

async function archiveBasis(
  { catalog }: EnginePorts,
  { replica, target }: Facts,
  id: BranchId,
  options: CallOptions,
): Promise<Basis> {
  const archive = replica.archives.find(({ branchId }) => branchId === id);
  if (archive === undefined) throw missing(replica, id);
  const [stored, points] = await Promise.all([
    target.store.branches(replica.id, options),
    catalog.points(replica.id),
  ]);
  const branch = stored.find((candidate) => candidate.id === id);
  if (branch === undefined) throw missing(replica, id);
  const vm = branch.vm ?? points.find((point) => point.id === archive.pointId)?.vm;
  if (vm !== undefined) return { id: archive.pointId, vm, disks: branch.disks };
  const reason = `The archived branch ${id} does not say which VM it is of, and its restore point is gone`;
  throw new UnderstudyError('invalid-request', { reason: `${reason}; it can still be exported` });
}

function missing({ name }: Replica, branch: BranchId): UnderstudyError {
  return new UnderstudyError('branch-missing', { replica: name, branch });
}
