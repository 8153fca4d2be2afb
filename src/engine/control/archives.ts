/** Archived branches: what undone failovers and hops have set aside, and copies of it or of restore points. */
import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import { formatInstant, type Instant } from '../../domain/instant.ts';
import type { Json, OperationRecord } from '../../domain/operation/operation.ts';
import { branchOver } from '../../domain/replica/archives.ts';
import type { ArchivedBranch, Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CommandOptions, PointSelector, Reference } from '../../ports/controller.ts';
import type { HostPorts } from '../../ports/host-directory.ts';
import type { ArchiveDiff, ArchiveView } from '../../ports/orders.ts';
import type { StoredBranch } from '../../ports/replica-store.ts';
import { requireNoneOver } from '../archives.ts';
import { withDeadline } from '../deadline.ts';
import { accept } from './accept.ts';
import { findArchive } from './basis.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findPoint, findReplica } from './references.ts';

/** A list must not wait for a host that hangs. */
const PATIENCE_MS = 5_000;

export async function listArchives(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<readonly ArchiveView[]> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  if (replica.archives.length === 0) return [];
  const points = await ports.catalog.points(replica.id);
  const { store } = await ports.hosts.ports(replica.targetHostId);
  const asked = await withDeadline(ports.clock, PATIENCE_MS, options, (signal) =>
    ask(store, replica, { signal }),
  ).catch((error: unknown) => {
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return asUnderstudyError(error).message;
  });
  return replica.archives.map((archive): ArchiveView => {
    const point = points.find(({ id }) => id === archive.pointId);
    const stored = typeof asked === 'string' ? undefined : asked.get(archive.branchId);
    const gone = 'its host no longer has it';
    return {
      archive,
      pointTakenAt: point?.takenAt ?? stored?.branch.takenAt ?? null,
      isPointThere: point !== undefined,
      bytes: stored?.bytes ?? null,
      unknownBecause: typeof asked === 'string' ? asked : stored === undefined ? gone : null,
      neededBy: branchOver(replica, archive.branchId),
    };
  });
}

type Stored = { readonly branch: StoredBranch; readonly bytes: number };

async function ask(
  store: HostPorts['store'],
  { id }: Replica,
  options: CallOptions,
): Promise<ReadonlyMap<string, Stored>> {
  const found = new Map<string, Stored>();
  for (const branch of await store.branches(id, options)) {
    found.set(branch.id, { branch, bytes: await store.branchBytes(id, branch.id, options) });
  }
  return found;
}

export async function diffArchive(
  ports: ControllerPorts,
  reference: Reference,
  which: Reference,
  options: CallOptions,
): Promise<ArchiveDiff> {
  const { replica, archive } = await locate(ports, reference, which);
  const { store } = await ports.hosts.ports(replica.targetHostId);
  return { archive, disks: await store.branchWrites(replica.id, archive.branchId, options) };
}

export async function keepArchive(
  ports: ControllerPorts,
  reference: Reference,
  which: Reference,
  { keepUntil, ...options }: CommandOptions & { readonly keepUntil: Instant },
): Promise<OperationRecord> {
  const { replica, archive } = await locate(ports, reference, which);
  if (keepUntil <= ports.clock.now()) {
    const reason = `${formatInstant(keepUntil)} has passed; to remove an archive now, delete it`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const title = `Keep archive ${archive.branchId} of ${replica.name} until ${formatInstant(keepUntil)}`;
  const input = { branchId: archive.branchId, keepUntil };
  const order = { kind: 'keep-archive', allowedAs: 'keep-archive', title, input } as const;
  return accept(ports, replica, order, options);
}

export async function deleteArchive(
  ports: ControllerPorts,
  reference: Reference,
  which: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { replica, archive } = await locate(ports, reference, which);
  requireNoneOver(replica, archive.branchId);
  const title = `Delete archive ${archive.branchId} of ${replica.name}`;
  const input = { branchId: archive.branchId };
  const order = { kind: 'delete-archive', allowedAs: 'delete-archive', title, input } as const;
  return accept(ports, replica, order, options);
}

export async function exportArchive(
  ports: ControllerPorts,
  reference: Reference,
  which: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { replica, archive } = await locate(ports, reference, which);
  const title = `Export archive ${archive.branchId} of ${replica.name}`;
  return beginExport(ports, replica, { title, input: { branchId: archive.branchId } }, options);
}

export async function exportPoint(
  ports: ControllerPorts,
  reference: Reference,
  selector: PointSelector,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const point = findPoint(await ports.catalog.points(replica.id), selector, replica);
  const title = `Export restore point ${point.id} of ${replica.name}`;
  return beginExport(ports, replica, { title, input: { pointId: point.id } }, options);
}

/** It holds no replica, so that runs go on; one at a time per host, because each reads whole disks. */
function beginExport(
  ports: ControllerPorts,
  replica: Replica,
  wish: { readonly title: string; readonly input: Readonly<Record<string, Json>> },
  options: CommandOptions,
): Promise<OperationRecord> {
  const slots = [{ name: `export:${replica.targetHostId}`, limit: 1 }];
  const order = { ...wish, kind: 'export', allowedAs: 'export', exclusive: [], slots } as const;
  return accept(ports, replica, order, options);
}

async function locate(
  ports: ControllerPorts,
  reference: Reference,
  which: Reference,
): Promise<{ readonly replica: Replica; readonly archive: ArchivedBranch }> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return { replica, archive: findArchive(replica, which) };
}
