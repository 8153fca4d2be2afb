/** The `ReplicaStore` port of a simulated host: the rules of the folder on disk, kept in memory. */
import { UnderstudyError } from '../domain/error.ts';
import type { LayerId, ReplicaId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ExtentSelection } from '../ports/mover.ts';
import type { ReadableDisk, ReplicaStore, StoreCommand } from '../ports/replica-store.ts';
import {
  archiveBranchUntil,
  branchHeldBytes,
  branchWritesOf,
  createBranchOn,
  deleteBranchFiles,
  isUnwrittenSince,
  keepSidecarsOf,
  listedBranches,
  newestFirst,
  promoteBranchOf,
  removePartialsAndLayers,
  requireUnused,
  restingPaths,
} from './branch.ts';
import type { CallGate, Passing } from './call-gate.ts';
import { differingBlocks } from './differing-blocks.ts';
import { discardExport, openExport, sealExport } from './exports.ts';
import { removeUnder } from './files.ts';
import { admitEpoch, type SimulatedHost, type Surroundings } from './host.ts';
import { freeBytes, type Image } from './image.ts';
import { inspectFolder, repairFolder } from './inspection.ts';
import { removeLayerFile, tidyLayers } from './layer-merging.ts';
import {
  discardPartialPoint,
  type Folder,
  openPartialPoint,
  sealPartialPoint,
  serveImage,
  stageSidecarsOf,
} from './partial-point.ts';
import {
  completeRecords,
  listedPoints,
  type ReplicaFolder,
  requireBranch,
  requireLayer,
  requirePoint,
  type StoredBranch,
} from './replica-folder.ts';
import { describeSeed, openSeed, settlePartialPoint } from './seeds.ts';

type Parts = {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly newLayerId: () => LayerId;
};

export function createSimulatedStore(parts: Parts & { readonly gate: CallGate }): ReplicaStore {
  const { host, around, gate, newLayerId } = parts;
  const call = <T>(
    method: keyof ReplicaStore,
    options: CallOptions,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> => gate.call({ host, port: 'store', method }, options, body);
  /** A command that changes the folder. */
  const change = <T>(
    method: keyof ReplicaStore,
    command: StoreCommand,
    options: CallOptions,
    body: (at: Folder, passing: Passing) => T | Promise<T>,
  ): Promise<T> =>
    call(method, options, (passing) => {
      const folder = requireFolder(host, command.replicaId);
      admit(folder, command.epoch);
      return body({ host, around, folder, newLayerId }, passing);
    });
  const tidy = ({ folder }: Folder, { moment }: Passing) =>
    tidyLayers({ host, files: around.files, folder, moment });

  return {
    createReplica: (command, options) =>
      call('createReplica', options, () => createFolder(host, command)),
    raiseEpoch: (command, options) => change('raiseEpoch', command, options, () => {}),
    epoch: (replicaId, options) =>
      call('epoch', options, () => host.replicas.get(replicaId)?.epoch ?? null),
    openPartial: (request, options) =>
      change('openPartial', request, options, (at) => openPartialPoint(at, request)),
    settlePartial: (request, options) =>
      change('settlePartial', request, options, (at) => settlePartialPoint(at, request.pointId)),
    sealPartial: (request, options) =>
      change('sealPartial', request, options, (at, { moment }) =>
        sealPartialPoint(at, request, moment),
      ),
    stageSidecars: ({ pointId, sidecars, ...command }, options) =>
      change('stageSidecars', command, options, (at) => stageSidecarsOf(at, pointId, sidecars)),
    discardPartial: (request, options) =>
      change('discardPartial', request, options, (at) => {
        discardPartialPoint(at, request.pointId);
        return at.folder.points.get(request.pointId)?.point ?? null;
      }),
    points: (replicaId, options) =>
      call('points', options, () => listedPoints(requireFolder(host, replicaId))),
    replicas: (options) =>
      call('replicas', options, () =>
        [...host.replicas.values()].map(({ id, name, epoch, about }) => ({
          replicaId: id,
          name,
          epoch,
          about,
          isDamaged: false,
        })),
      ),
    retirePoint: (request, options) =>
      change('retirePoint', request, options, async (at, passing) => {
        at.folder.points.delete(request.pointId);
        await passing.moment('unlisted');
        await tidy(at, passing);
      }),
    tidy: (command, options) => change('tidy', command, options, tidy),
    restingDisks: (replicaId, disks) => restingPaths(host, replicaId, disks),
    createBranch: (request, options) =>
      change('createBranch', request, options, (at) => createBranchOn(at, request)),
    noteBranch: ({ branchId, about, ...command }, options) =>
      change('noteBranch', command, options, ({ folder }) => {
        requireBranch(folder, branchId).about = about;
      }),
    keepSidecars: ({ branchId, sidecars, ...command }, options) =>
      change('keepSidecars', command, options, (at) => keepSidecarsOf(at, branchId, sidecars)),
    archiveBranch: ({ branchId, keepUntil, ...command }, options) =>
      change('archiveBranch', command, options, (at) =>
        archiveBranchUntil(at, branchId, keepUntil),
      ),
    deleteBranch: (request, options) =>
      change('deleteBranch', request, options, (at) => deleteBranchFiles(at, request.branchId)),
    branchBytes: (replicaId, branchId, options) =>
      call('branchBytes', options, () => branchHeldBytes(requireFolder(host, replicaId), branchId)),
    branches: (replicaId, options) =>
      call('branches', options, () => listedBranches(requireFolder(host, replicaId))),
    isBranchUnwritten: (replicaId, branchId, since, options) =>
      call('isBranchUnwritten', options, () =>
        isUnwrittenSince(requireFolder(host, replicaId), branchId, since),
      ),
    branchWrites: (replicaId, branchId, options) =>
      call('branchWrites', options, () => branchWritesOf(requireFolder(host, replicaId), branchId)),
    openExport: (request, options) =>
      call('openExport', options, () => openExport({ host, around }, request)),
    sealExport: (request, options) =>
      call('sealExport', options, () => sealExport({ host, around }, request)),
    discardExport: (request, options) =>
      call('discardExport', options, () => discardExport({ host, around }, request)),
    openReading: (request, options) =>
      change('openReading', request, options, (at) => openReading(at, request)),
    closeReading: ({ key }, options) =>
      call('closeReading', options, () => closeReading({ host, around }, key)),
    describeSeed: (files, options) =>
      call('describeSeed', options, () => describeSeed({ host, around }, files)),
    openSeed: (request, options) =>
      call('openSeed', options, () => {
        closeReading({ host, around }, request.key);
        return openSeed({ host, around }, request);
      }),
    differingBlocks: ({ replicaId, fromPointId, toPointId }, options) =>
      call('differingBlocks', options, () =>
        differingBlocks(requireFolder(host, replicaId), fromPointId, toPointId),
      ),
    inspect: (replicaId, options) =>
      call('inspect', options, () => inspectFolder(around.files, requireFolder(host, replicaId))),
    repair: (request, options) =>
      change('repair', request, options, (at, { moment }) =>
        repairFolder(at, request.findings, moment),
      ),
    promoteBranch: (request, options) =>
      change('promoteBranch', request, options, (at) => promoteBranchOf(at, request.branchId)),
    deleteReplica: (command, options) =>
      call('deleteReplica', options, () => {
        const folder = host.replicas.get(command.replicaId);
        if (folder === undefined) return;
        admit(folder, command.epoch);
        deleteFolder({ host, around, folder, newLayerId });
      }),
    room: (options) =>
      call('room', options, () => ({
        freeBytes: freeBytes(host.storage),
        sizeBytes: host.storage.capacityBytes,
      })),
  };
}

/** Throws `replica-missing`. */
export function requireFolder(host: SimulatedHost, id: ReplicaId): ReplicaFolder {
  const folder = host.replicas.get(id);
  if (folder === undefined) throw new UnderstudyError('replica-missing', { replica: id });
  return folder;
}

function createFolder(
  host: SimulatedHost,
  {
    replicaId: id,
    name,
    epoch,
    about,
  }: StoreCommand & { readonly name: string; readonly about?: Json },
): void {
  const present = host.replicas.get(id);
  if (present !== undefined) {
    admit(present, epoch);
    if (about !== undefined) present.about = about;
    return;
  }
  host.replicas.set(id, {
    id,
    name,
    path: `${host.storage.path}/${id}`,
    epoch,
    about: about ?? null,
    layers: new Map(),
    points: new Map(),
    partials: new Map(),
    branches: new Map(),
    merging: null,
    foreignFiles: new Set(),
  });
}

function admit(folder: ReplicaFolder, epoch: number): void {
  const seen = {
    get: () => folder.epoch,
    set: (_: ReplicaId, highest: number) => {
      folder.epoch = highest;
    },
  };
  admitEpoch(seen, folder.id, epoch);
}

type OpenReading = Parameters<ReplicaStore['openReading']>[0];

/** Opened again under the same key, it is served afresh. */
function openReading(at: Folder, { key, of, sizesMax = {} }: OpenReading): readonly ReadableDisk[] {
  const { host, around, folder } = at;
  closeReading(at, key);
  const images =
    'pointId' in of
      ? requirePoint(folder, of.pointId).point.disks.map((disk) => {
          const { image } = requireLayer(folder, disk.layerId);
          return { key: disk.key, image, layerId: disk.layerId };
        })
      : requireBranch(folder, of.branchId).disks.map((disk) => ({ ...disk, layerId: null }));
  const branch = 'pointId' in of ? null : requireBranch(folder, of.branchId);
  const disks = images.map(({ key: disk, image, layerId }): ReadableDisk => {
    const { extents, changed } =
      branch === null ? changesSince(image, null) : writesSince(image, branch);
    const sizeBytes = Math.min(image.sizeBytes, sizesMax[disk] ?? image.sizeBytes);
    const shown = sizeBytes < image.sizeBytes ? { ...image, sizeBytes } : image;
    const endpoint = serveImage(at, `reading/${folder.id}/${disk}`, shown, false, changed);
    const hashesPath = layerId === null ? null : `${folder.path}/reading/${key}/${disk}.hash`;
    if (hashesPath !== null) {
      const records = completeRecords(folder, layerId);
      around.files.set(hashesPath, { type: 'records', records });
    }
    return { key: disk, sizeBytes, endpoint, hashesPath, extents };
  });
  host.readings.set(key, {
    replicaId: folder.id,
    endpoints: disks.map(({ endpoint }) => endpoint),
    paths: disks.flatMap(({ hashesPath }) => (hashesPath === null ? [] : [hashesPath])),
    images: images.map(({ image }) => image),
  });
  return disks;
}

/** Where a branch's mark is lost, its own files still say what they hold, unless an archive lies between it and its point. */
function writesSince(
  image: Image,
  { mark, overBranchId, isPromoted }: StoredBranch,
): ReturnType<typeof changesSince> {
  const marked = changesSince(image, isPromoted ? null : mark);
  if (marked.extents.type === 'changed' || overBranchId !== null || isPromoted) return marked;
  const metaContext = 'qemu:allocation-depth';
  const held = [...image.blocks.keys()].sort((a, b) => a - b);
  return {
    extents: { type: 'changed', metaContext },
    changed: (context) => (context === metaContext ? held : null),
  };
}

/** What is worth reading of an image: what changed since the mark, or all that is allocated once the mark is lost. */
export function changesSince(
  image: Image,
  mark: string | null,
): {
  readonly extents: ExtentSelection;
  readonly changed: (metaContext: string) => readonly number[] | null;
} {
  const known = mark === null ? undefined : image.marks.get(mark);
  if (known === undefined) return { extents: { type: 'allocated' }, changed: () => null };
  const metaContext = `qemu:dirty-bitmap:${mark}`;
  const dirty = [...known.dirty].sort((a, b) => a - b);
  return {
    extents: { type: 'changed', metaContext },
    changed: (context) => (context === metaContext ? dirty : null),
  };
}

function closeReading(
  { host, around }: Pick<Folder, 'host' | 'around'>,
  key: StoreCommand['key'],
): void {
  const reading = host.readings.get(key);
  if (reading === undefined) return;
  host.readings.delete(key);
  for (const endpoint of reading.endpoints) around.endpoints.close(endpoint);
  for (const path of reading.paths) around.files.delete(path);
}

/** Throws `disk-in-use` while a VM runs on a branch. */
function deleteFolder(at: Folder): void {
  const { host, around, folder } = at;
  for (const [key, reading] of [...host.readings]) {
    if (reading.replicaId === folder.id) closeReading(at, key);
  }
  for (const branch of folder.branches.values()) requireUnused(at, branch);
  for (const id of newestFirst(folder)) deleteBranchFiles(at, id);
  folder.points.clear();
  removePartialsAndLayers(at);
  for (const id of [...folder.layers.keys()]) removeLayerFile(around.files, folder, id);
  removeUnder(around.files, folder.path);
  host.replicas.delete(folder.id);
}
