/** Writable layers over a point: made at once, archived after an undo, deleted. */
import { chmod, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, DiskKey, MarkName, PointId, ReplicaId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { BranchDisk, StoreCommand } from '../../ports/replica-store.ts';
import { backingOf, checkArchive } from './archived-branches.ts';
import {
  BRANCH_VERSION,
  type BranchFile,
  readBranch,
  readBranches,
  writeBranch,
} from './branch-file.ts';
import { admit, layoutOf, type StoreContext } from './context.ts';
import { checkChains } from './drift.ts';
import {
  copyDurably,
  makeFolder,
  removeFolder,
  renameFolder,
  syncFile,
  writeJson,
} from './durable-file.ts';
import { identityOf } from './identity.ts';
import {
  BRANCH_MODE,
  FOLDER_MODE,
  RESTING_BRANCH,
  type ReplicaLayout,
  SEALED_MODE,
} from './layout.ts';
import { namesIn, type StoredPoint } from './point-file.ts';
import { hasUsableBitmap, isUnwrittenSince } from './qcow2-bitmaps.ts';
import { requireRecord } from './record.ts';
import { loadPoint } from './state.ts';

type BranchCommand = StoreCommand & { readonly branchId: BranchId };
type CreateCommand = BranchCommand & {
  readonly pointId: PointId;
  readonly archiveId?: BranchId | null;
  readonly acceptsDrift?: boolean;
  readonly mark?: MarkName;
  readonly about?: Json;
};
type CreatedBranch = {
  readonly disks: readonly BranchDisk[];
  readonly sidecars: readonly Sidecar[];
};

export async function createBranch(
  context: StoreContext,
  command: CreateCommand,
  options: CallOptions,
): Promise<CreatedBranch> {
  const { replicaId, branchId, pointId, mark = null, about = null } = command;
  const layout = layoutOf(context, replicaId);
  const record = await admit(layout, command);
  const existing = await readBranch(layout, branchId);
  const archiveId = command.archiveId ?? null;
  if (existing?.pointId === pointId && existing.overBranchId === archiveId) {
    return branchAnswer(layout, existing);
  }
  if (existing !== null || branchId === RESTING_BRANCH) {
    throw new UnderstudyError('name-taken', { what: 'branch', name: branchId });
  }
  if (archiveId !== null) return branchOverArchive(context, { ...command, archiveId }, options);
  // Only this point is read: a failover must not hang on another one's damage.
  const stored = await loadPoint(layout, record, pointId);
  if (stored === null) {
    throw new UnderstudyError('point-missing', { replica: replicaId, point: pointId });
  }
  const tops = stored.point.disks.map(({ layerId }) => layerId);
  await checkChains(layout, record, tops, command);
  const branch = { ...newBranch(branchId, stored), mark, about };
  const sizes = new Map(stored.point.disks.map(({ key, sizeBytes }) => [key, sizeBytes]));
  const sidecar = (name: Sidecar['name']) => layout.pointSidecar(pointId, name);
  const below = null;
  await makeBranchFolder(context, layout, { branch, below, sizes, sidecar }, options);
  return branchAnswer(layout, branch);
}

/** The archive stays as it is, and is what the branch reads where nothing was written since. Throws `replica-drifted`. */
async function branchOverArchive(
  context: StoreContext,
  command: CreateCommand & { readonly archiveId: BranchId },
  options: CallOptions,
): Promise<CreatedBranch> {
  const { replicaId, branchId, pointId, archiveId, mark = null, about = null } = command;
  const layout = layoutOf(context, replicaId);
  const below = await requireBranch(layout, archiveId);
  if (below.state !== 'archived' || below.pointId !== pointId) {
    const reason = `Branch ${archiveId} is no archived branch of restore point ${pointId}`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const sizes = await checkArchive(layout, below, command);
  const disks = below.disks.map((disk) => ({ ...disk, identity: null }));
  const state = 'active' as const;
  const over = { overBranchId: archiveId, state, keepUntil: null, disks, mark, about };
  const branch: BranchFile = { ...below, ...over, id: branchId };
  const sidecar = (name: Sidecar['name']) => layout.branchSidecar(archiveId, name);
  await makeBranchFolder(context, layout, { branch, below, sizes, sidecar }, options);
  return branchAnswer(layout, branch);
}

function newBranch(id: BranchId, { point, sidecars }: StoredPoint): BranchFile {
  return {
    formatVersion: BRANCH_VERSION,
    id,
    pointId: point.id,
    overBranchId: null,
    takenAt: point.takenAt,
    vm: point.vm,
    mark: null,
    state: 'active',
    keepUntil: null,
    disks: point.disks.map(({ key, layerId }) => ({ key, layerId, identity: null })),
    sidecars,
    about: null,
  };
}

type BranchPlan = {
  readonly branch: BranchFile;
  /** The archived branch that it lies over. */
  readonly below: BranchFile | null;
  readonly sizes: ReadonlyMap<DiskKey, number>;
  /** Where the state files are copied from. */
  readonly sidecar: (name: Sidecar['name']) => string;
};

/** Made under another name and renamed when complete: a branch is there with all its disks, or not at all. */
async function makeBranchFolder(
  context: StoreContext,
  layout: ReplicaLayout,
  { branch, below, sizes, sidecar }: BranchPlan,
  options: CallOptions,
): Promise<void> {
  const folder = join(layout.branches, `.new-${branch.id}`);
  await rm(folder, { recursive: true, force: true });
  await makeFolder(folder, FOLDER_MODE);
  await Promise.all(
    branch.disks.map(async ({ key, layerId }) => {
      const path = join(folder, `${key}.qcow2`);
      const sizeBytes = sizes.get(key) ?? 0;
      const backing = backingOf(branch, { key, layerId });
      const before = await markBelow(layout, below, key);
      const bitmap = before === 'lost' ? null : branch.mark;
      await context.images.create({ path, sizeBytes, backing, bitmap, mode: BRANCH_MODE }, options);
      if (bitmap === null || before === 'none' || before === 'lost') return;
      await context.images.mergeBitmap({ path, name: bitmap }, before, options);
      await syncFile(path);
    }),
  );
  context.crashPoint('branch: disks made');
  for (const name of branch.sidecars) {
    await copyDurably(sidecar(name), join(folder, name), BRANCH_MODE);
  }
  await writeJson(join(folder, 'branch.json'), branch);
  context.crashPoint('branch: complete');
  await renameFolder(folder, layout.branchFolder(branch.id));
  context.crashPoint('branch: renamed');
}

/**
 * What was written between the point and the branch to come must be in its mark, too, or the mark would tell too little.
 * `none`: nothing lies between. `lost`: something does, and nobody knows any more what it has written.
 */
async function markBelow(
  layout: ReplicaLayout,
  below: BranchFile | null,
  key: DiskKey,
): Promise<{ readonly path: string; readonly name: string } | 'none' | 'lost'> {
  if (below === null) return 'none';
  const path = layout.branchImage(below.id, key);
  const { mark: name } = below;
  return name !== null && (await hasUsableBitmap(path, name)) ? { path, name } : 'lost';
}

function branchAnswer(layout: ReplicaLayout, branch: BranchFile): CreatedBranch {
  return {
    disks: branch.disks.map(({ key }) => ({
      key,
      path: layout.branchImage(branch.id, key),
      format: 'qcow2',
    })),
    sidecars: branch.sidecars.map((name) => ({
      name,
      path: layout.branchSidecar(branch.id, name),
    })),
  };
}

export async function archiveBranch(
  context: StoreContext,
  command: BranchCommand & { readonly keepUntil: Instant },
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  const branch = await requireBranch(layout, command.branchId);
  const { keepUntil } = command;
  if (branch.state === 'archived') {
    if (branch.keepUntil !== keepUntil) await writeBranch(layout, { ...branch, keepUntil });
    return;
  }
  await requireUnused(context, layout, branch.id, options);
  const disks = await Promise.all(
    branch.disks.map(async (disk) => {
      const path = layout.branchImage(branch.id, disk.key);
      await chmod(path, SEALED_MODE);
      await syncFile(path);
      return { ...disk, identity: await identityOf(path) };
    }),
  );
  context.crashPoint('archive: read-only');
  await writeBranch(layout, { ...branch, state: 'archived', keepUntil, disks });
  context.crashPoint('archive: recorded');
}

export async function deleteBranch(
  context: StoreContext,
  command: BranchCommand,
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  await requireUnused(context, layout, command.branchId, options);
  await requireNoneOver(layout, command.branchId);
  await removeBranchFolder(layout, command.branchId);
}

/** Throws `branch-needed`: what lies over it would read rubbish. */
async function requireNoneOver(layout: ReplicaLayout, id: BranchId): Promise<void> {
  const over = (await readBranches(layout)).find(
    ({ overBranchId, state }) => overBranchId === id && state !== 'promoted',
  );
  if (over === undefined) return;
  const { replicaId: replica } = layout;
  throw new UnderstudyError('branch-needed', { replica, branch: id, over: over.id });
}

/** A VM that still runs on the branch would write to what others rely on, or lose what it writes. Throws `image-in-use`. */
export async function requireUnused(
  { images }: StoreContext,
  layout: ReplicaLayout,
  id: BranchId,
  options: CallOptions,
): Promise<void> {
  const folder = layout.branchFolder(id);
  const disks = (await namesIn(folder)).filter((name) => name.endsWith('.qcow2'));
  await Promise.all(disks.map((name) => images.requireUnused(join(folder, name), options)));
}

export async function removeBranchFolder(layout: ReplicaLayout, id: BranchId): Promise<void> {
  await removeFolder(layout.branchFolder(id), join(layout.branches, `.gone-${id}`));
}

/** Blocks that the file system gave to the branch's disks, QEMU's own tables among them. */
export async function branchBytes(
  context: StoreContext,
  replicaId: ReplicaId,
  branchId: BranchId,
): Promise<number> {
  const layout = layoutOf(context, replicaId);
  await requireRecord(layout);
  const branch = await requireBranch(layout, branchId);
  const sizes = await Promise.all(
    // st_blocks counts 512 bytes whatever the file system's block (stat(2)).
    branch.disks.map(
      async ({ key }) => (await stat(layout.branchImage(branchId, key))).blocks * 512,
    ),
  );
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** What a QEMU that does not know the mark, or died, has left of it tells nothing. */
export async function isBranchUnwritten(
  context: StoreContext,
  replicaId: ReplicaId,
  branchId: BranchId,
  since: MarkName,
): Promise<boolean> {
  const layout = layoutOf(context, replicaId);
  const { disks } = await requireBranch(layout, branchId);
  const told = await Promise.all(
    disks.map(({ key }) => isUnwrittenSince(layout.branchImage(branchId, key), since)),
  );
  return told.includes(true) && !told.includes(false);
}

/** Throws `branch-missing`, `invalid-file`. */
export async function requireBranch(layout: ReplicaLayout, id: BranchId): Promise<BranchFile> {
  const branch = await readBranch(layout, id);
  if (branch !== null) return branch;
  throw new UnderstudyError('branch-missing', { replica: layout.replicaId, branch: id });
}
