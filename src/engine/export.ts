/**
 * Export: a restore point or an archived branch as qcow2 files that stand alone, in the target host's storage folder.
 *
 *   load → register → copy disk by disk → seal (there from now on) → release
 *
 * It only reads what stays, so replication goes on beside it. Interrupted, it goes on with the disk that it was at;
 * cancelled or failed, it leaves nothing.
 */
import { UnderstudyError } from '../domain/error.ts';
import {
  type BranchId,
  branchId,
  type DiskKey,
  type OperationId,
  operationId,
  operationKey,
  type PointId,
  pointId,
  replicaId,
} from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Temporary } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition, StepAttempt } from '../ports/durable.ts';
import type { ExportedFiles } from '../ports/export-files.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { TransferResult } from '../ports/mover.ts';
import type { EnginePorts } from './engine-ports.ts';
import { optionalTextIn, textIn } from './input.ts';
import { whileRegistered } from './registered-reading.ts';
import { loadReplica, requireReplica } from './replica-facts.ts';

const LIFETIME_MS = 7 * 24 * 3600 * 1000;

export function exportDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'export',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const { replica } = await loadReplica(ports, context, id, 'export');
      const target = await ports.hosts.ports(replica.targetHostId);
      const of = exportedIn(input);
      const what = await describe(ports, context, { replica, target }, of);
      const exportId = `${'pointId' in of ? of.pointId : of.branchId}-${context.operationId}`;
      const copy = { replica, target, of, exportId, disks: what.disks };
      const temporary = await register(context, copy);
      let sentBytes = 0;
      for (const { key } of what.disks) {
        const copied = await whileRegistered(context, { name: `copy-${key}`, replica }, () =>
          copyDisk(ports, context, copy, key),
        );
        sentBytes += copied.sentBytes;
      }
      const files = await seal(context, copy, aboutOf(replica, of, what));
      await context.record('release', [{ type: 'temporary-released', key: temporary.key }], {
        undo: 'irreversible',
      });
      return { ...files, sentBytes };
    },
  };
}

/** What is being copied now, and must stay until that is over: the id of a point or a branch → the operation. */
export async function beingExported(
  { catalog }: EnginePorts,
  { id }: Replica,
): Promise<ReadonlyMap<string, OperationId>> {
  const found = new Map<string, OperationId>();
  for (const { kind, key, identity } of await catalog.temporaries()) {
    if (kind !== 'export' || identity.replicaId !== id) continue;
    const what = identity.pointId ?? identity.branchId ?? '';
    found.set(what, operationId(key.slice(0, key.indexOf('/'))));
  }
  return found;
}

type Exported = { readonly pointId: PointId } | { readonly branchId: BranchId };

type Described = {
  readonly takenAt: number | null;
  readonly vm: VmDescription | null;
  readonly disks: readonly { readonly key: DiskKey; readonly sizeBytes: number }[];
};

type Copy = {
  readonly replica: Replica;
  readonly target: HostViews;
  readonly of: Exported;
  readonly exportId: string;
  readonly disks: Described['disks'];
};

function exportedIn(input: Json): Exported {
  const point = optionalTextIn(input, 'pointId', pointId);
  return point === null ? { branchId: branchId(textIn(input, 'branchId')) } : { pointId: point };
}

/** Throws `point-missing`, `branch-missing`. */
function describe(
  { catalog }: EnginePorts,
  context: OperationContext,
  { replica, target }: Pick<Copy, 'replica' | 'target'>,
  of: Exported,
): Promise<Described> {
  const shaped = ({ takenAt, vm, disks }: Described): Described => ({
    takenAt,
    vm,
    disks: disks.map(({ key, sizeBytes }) => ({ key, sizeBytes })),
  });
  return context.step<Described>('describe', {
    do: async ({ signal }) => {
      if ('pointId' in of) {
        const found = (await catalog.points(replica.id)).find(({ id }) => id === of.pointId);
        if (found !== undefined) return shaped(found);
        throw new UnderstudyError('point-missing', { replica: replica.name, point: of.pointId });
      }
      const branches = await target.store.branches(replica.id, { signal });
      const found = branches.find(({ id }) => id === of.branchId);
      if (found !== undefined) return shaped(found);
      throw new UnderstudyError('branch-missing', { replica: replica.name, branch: of.branchId });
    },
    undo: 'nothing',
  });
}

async function register(
  context: OperationContext,
  { replica, of, exportId }: Copy,
): Promise<Temporary> {
  const startedAt = await context.now('started-at');
  const temporary: Temporary = {
    key: operationKey(context.operationId, 'export'),
    hostId: replica.targetHostId,
    kind: 'export',
    identity: { replicaId: replica.id, exportId, ...of },
    expiresAt: instant(startedAt + LIFETIME_MS),
  };
  await context.record('register', [{ type: 'temporary-registered', temporary }], {
    undo: [{ type: 'temporary-released', key: temporary.key }],
  });
  return temporary;
}

function copyDisk(
  ports: EnginePorts,
  context: OperationContext,
  copy: Copy,
  key: DiskKey,
): Promise<TransferResult> {
  const { store } = copy.target;
  return context.step<TransferResult>(`copy-${key}`, {
    do: async (attempt) => {
      // A failover meanwhile has raised the epoch, and is no reason to stop reading what stays.
      const { value: current } = await requireReplica(ports.catalog, copy.replica.id);
      const command = { key: attempt.key, replicaId: current.id, epoch: current.epoch };
      try {
        const read = await store.openReading({ ...command, of: copy.of }, attempt);
        const { disks } = copy;
        const exported = { key: attempt.key, replicaId: current.id, exportId: copy.exportId };
        const written = await store.openExport({ ...exported, disks }, attempt);
        const source = read.find((disk) => disk.key === key);
        const target = written.find((disk) => disk.key === key);
        if (source === undefined || target === undefined) {
          const reason = `Disk ${key} cannot be read any more`;
          throw new UnderstudyError('invalid-request', { reason });
        }
        return await ports.mover.transfer(
          {
            key: attempt.key,
            source: source.endpoint,
            target: target.target,
            sizeBytes: source.sizeBytes,
            extents: { type: 'allocated' },
            targetReads: 'zeros',
            knownHashesPath: null,
            recordsPath: target.recordsPath,
            bytesPerSecondMax: null,
          },
          {
            signal: attempt.signal,
            onProgress: (progress) => context.progress({ ...progress, step: `copy-${key}` }),
          },
        );
      } finally {
        await store.closeReading(command, { signal: new AbortController().signal });
      }
    },
    undo: (attempt) => discard(copy, attempt),
  });
}

/** A controller that died while it read, and was told to cancel when it came back, leaves the reading open. */
async function discard(
  { replica, target, exportId }: Copy,
  { key, signal }: Pick<StepAttempt, 'key'> & CallOptions,
): Promise<void> {
  const command = { key, replicaId: replica.id };
  await target.store.closeReading({ ...command, epoch: replica.epoch }, { signal });
  await target.store.discardExport({ ...command, exportId }, { signal });
}

function seal(context: OperationContext, copy: Copy, about: Json): Promise<ExportedFiles> {
  const { replica, target, exportId } = copy;
  return context.step<ExportedFiles>('seal-export', {
    do: ({ key, signal }) =>
      target.store.sealExport({ key, replicaId: replica.id, exportId, about }, { signal }),
    undo: 'irreversible',
  });
}

/** For whoever finds the folder: what it is a copy of, and the definition of its VM. */
function aboutOf(replica: Replica, of: Exported, { takenAt, vm, disks }: Described): Json {
  return {
    replicaId: replica.id,
    replicaName: replica.name,
    sourceVmName: replica.sourceVmName,
    ...of,
    takenAt,
    disks: disks.map(({ key, sizeBytes }) => ({ key, sizeBytes })),
    vm: vm === null ? null : { name: vm.name, configuration: { ...vm.configuration } },
  };
}
