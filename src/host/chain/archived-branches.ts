/**
 * Archived branches as something to build on: a branch may lie over one instead of over its point, so that failing over
 * to an archive again takes no copy and leaves the archive as it is.
 *
 *   layers ◀── archive ◀── branch        the archive cannot be deleted while the branch is there
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, DiskKey, LayerId, ReplicaId } from '../../domain/ids.ts';
import type { BranchWrites, StoredBranch } from '../../ports/replica-store.ts';
import { invalidFile } from '../file-parsing.ts';
import { type BranchFile, readBranch, readBranches } from './branch-file.ts';
import { layoutOf, type StoreContext } from './context.ts';
import { checkChains } from './drift.ts';
import { imageProblem, readImageHeader } from './identity.ts';
import { allocatedRanges, firstMissing, type Holdings, holdingsOf } from './image-ranges.ts';
import { backingOfArchive, backingOfBranch, type ReplicaLayout } from './layout.ts';
import { requireRecord } from './record.ts';

/** What an image of the branch names below it. */
export function backingOf(
  { overBranchId }: Pick<BranchFile, 'overBranchId'>,
  { key, layerId }: { readonly key: DiskKey; readonly layerId: LayerId },
): string {
  return overBranchId === null
    ? backingOfBranch(layerId, key)
    : backingOfArchive(overBranchId, key);
}

/**
 * The sizes of an archived branch's disks, once it and all that it reads through is found to be what was recorded, or with
 * `acceptsDrift` to be there at all. Throws `replica-drifted`, `branch-missing`, `invalid-file`.
 */
export async function checkArchive(
  layout: ReplicaLayout,
  archive: BranchFile,
  { acceptsDrift = false }: { readonly acceptsDrift?: boolean },
): Promise<ReadonlyMap<DiskKey, number>> {
  const chain = await archivesBelow(layout, archive);
  for (const branch of chain) {
    for (const { key, layerId, identity } of branch.disks) {
      const problem = await imageProblem({
        path: layout.branchImage(branch.id, key),
        identity,
        backingNames: [backingOf(branch, { key, layerId })],
      });
      if (problem === null || (acceptsDrift && problem.kind !== 'missing')) continue;
      const finding = `branch ${branch.id}/${key}.qcow2: ${problem.reason}`;
      throw new UnderstudyError('replica-drifted', { replica: layout.replicaId, finding });
    }
  }
  const tops = archive.disks.map(({ layerId }) => layerId);
  await checkChains(layout, await requireRecord(layout), tops, { acceptsDrift });
  const sizes = new Map<DiskKey, number>();
  for (const { key } of archive.disks) sizes.set(key, await sizeOf(layout, archive.id, key));
  return sizes;
}

/** The branch and the archives that it reads through, newest first. */
async function archivesBelow(
  layout: ReplicaLayout,
  top: BranchFile,
): Promise<readonly BranchFile[]> {
  const chain = [top];
  let next = top.overBranchId;
  while (next !== null) {
    const below = await readBranch(layout, next);
    const isSeen = chain.some(({ id }) => id === next);
    if (below === null || isSeen) {
      throw new UnderstudyError('branch-missing', { replica: layout.replicaId, branch: next });
    }
    chain.push(below);
    next = below.overBranchId;
  }
  return chain;
}

async function sizeOf(layout: ReplicaLayout, id: BranchId, key: DiskKey): Promise<number> {
  const path = layout.branchImage(id, key);
  const header = await readImageHeader(path);
  if (header === null) throw invalidFile(path, 'it is not a qcow2 image');
  return header.virtualSizeBytes;
}

/** What the archives below the branch hold of a disk: they have no hash tables to ask. Null: there are none. */
export async function heldByArchives(
  layout: ReplicaLayout,
  branch: BranchFile,
  key: DiskKey,
): Promise<Holdings | null> {
  const below = (await archivesBelow(layout, branch)).slice(1).toReversed();
  return await holdingsOf(below.map(({ id }) => layout.branchImage(id, key)));
}

/** A branch that is to stand alone must hold that, too. Throws `verification-failed`. */
export async function requireHeld(
  what: string,
  path: string,
  held: Holdings | null,
): Promise<void> {
  const missing = held === null ? null : await firstMissing(path, held);
  if (missing === null) return;
  const reason = `block ${missing} of the archive below it is not in ${path}`;
  throw new UnderstudyError('verification-failed', { what, reason });
}

export async function listBranches(
  context: StoreContext,
  replicaId: ReplicaId,
): Promise<readonly StoredBranch[]> {
  const layout = layoutOf(context, replicaId);
  await requireRecord(layout);
  const branches = await readBranches(layout);
  return await Promise.all(
    branches.map(async ({ disks, id, pointId, overBranchId, takenAt, vm, ...branch }) => ({
      id,
      pointId,
      overBranchId,
      takenAt,
      vm,
      state: branch.state,
      keepUntil: branch.keepUntil,
      about: branch.about,
      disks: await Promise.all(
        disks.map(async ({ key }) => ({
          key,
          path: layout.branchImage(id, key),
          sizeBytes: await sizeOf(layout, id, key),
        })),
      ),
    })),
  );
}

/** What the branch's own files hold: of one whose VM runs, what has reached them. */
export async function branchWrites(
  context: StoreContext,
  replicaId: ReplicaId,
  branchId: BranchId,
): Promise<readonly BranchWrites[]> {
  const layout = layoutOf(context, replicaId);
  await requireRecord(layout);
  const branch = await readBranch(layout, branchId);
  if (branch === null) {
    throw new UnderstudyError('branch-missing', { replica: replicaId, branch: branchId });
  }
  return await Promise.all(
    branch.disks.map(async ({ key }) => {
      const path = layout.branchImage(branchId, key);
      return { key, ...(await allocatedRanges(path)) };
    }),
  );
}
