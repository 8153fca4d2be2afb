/** The end of a replica as one: a branch stays as the VM's own disks, everything else goes. */
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { StoreCommand } from '../../ports/replica-store.ts';
import { backingOf, heldByArchives, requireHeld } from './archived-branches.ts';
import { type BranchFile, branchIds, readBranch, writeBranch } from './branch-file.ts';
import { removeBranchFolder, requireBranch, requireUnused } from './branches.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { syncFile } from './durable-file.ts';
import { readImageHeader } from './identity.ts';
import { requireContent } from './image-content.ts';
import { removeLayerFolder } from './layer-folder.ts';
import type { ReplicaLayout } from './layout.ts';
import { pointIds, removePoint } from './point-file.ts';
import { readBitmaps } from './qcow2-bitmaps.ts';
import { type ReplicaRecord, writeRecord } from './record.ts';
import { chainOf } from './state.ts';

/**
 * Irreversible once recorded, so it is begun only on the evidence of the images themselves: none of them names
 * another below it, and each holds all content of the layers that will go.
 * Throws `branch-missing`, `invalid-request`, `verification-failed`.
 */
export async function promoteBranch(
  context: StoreContext,
  command: StoreCommand & { readonly branchId: BranchId },
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const record = await admit(layout, command);
  const branch = await requireBranch(layout, command.branchId);
  await requireIndependent(layout, branch);
  if (record.promotedBranchId !== branch.id) {
    await requireComplete(context, { layout, record, branch }, options);
  }
  for (const id of await branchIds(layout)) {
    if (id !== branch.id) await requireUnused(context, layout, id, options);
  }
  const promoted = { ...record, promotedBranchId: branch.id };
  await writeRecord(layout, promoted);
  context.crashPoint('promote: recorded');
  for (const name of context.server.sessions(sessionName.allOf(layout.replicaId))) {
    await context.server.stop(name, options);
  }
  await writeBranch(layout, { ...branch, state: 'promoted' });
  context.crashPoint('promote: branch marked');
  await removeAllElse(context, layout, promoted);
  await dropMark(context, layout, branch.id, options);
}

async function requireIndependent(layout: ReplicaLayout, branch: BranchFile): Promise<void> {
  for (const { key } of branch.disks) {
    const header = await readImageHeader(layout.branchImage(branch.id, key));
    if (header !== null && header.backingName === null) continue;
    const below = header === null ? 'cannot be read' : `still lies over ${header.backingName}`;
    const reason = `Disk ${key} of branch ${branch.id} ${below}, so the layers must stay`;
    throw new UnderstudyError('invalid-request', { reason });
  }
}

/** The header changes before the content that stands behind it is sure to be in the file: see image-content.ts. */
async function requireComplete(
  { images }: StoreContext,
  { layout, record, branch }: Promotion,
  options: CallOptions,
): Promise<void> {
  for (const { key, layerId } of branch.disks) {
    const path = layout.branchImage(branch.id, key);
    await syncFile(path);
    const tables = chainOf(record, layerId).map((layer) => layout.table(layer));
    const what = `Disk ${key} of branch ${branch.id}`;
    const held = await heldByArchives(layout, branch, key);
    const requireAll = async () => {
      await requireContent({ what, path, tables, held });
      await requireHeld(what, path, held);
    };
    await requireAll().catch(async (error: unknown) => {
      // Over its layer it reads right again. Refused while a QEMU has it open, which then may still write what is missing.
      await images
        .repoint(path, backingOf(branch, { key, layerId }), options)
        .catch(() => undefined);
      throw error;
    });
  }
}

type Promotion = {
  readonly layout: ReplicaLayout;
  readonly record: ReplicaRecord;
  readonly branch: BranchFile;
};

/** Goes on where an interrupted promotion stopped; without one, does nothing. */
export async function finishPromotion(
  context: StoreContext,
  command: StoreCommand,
  options: CallOptions,
): Promise<'finished' | 'none'> {
  const layout = layoutOf(context, command.replicaId);
  const record = await admit(layout, command);
  if (record.promotedBranchId === null) return 'none';
  await removeAllElse(context, layout, record);
  await dropMark(context, layout, record.promotedBranchId, options);
  return 'finished';
}

/**
 * An ordinary VM needs no mark of ours. While a QEMU has the disks open nobody else can remove it: it stays, harmless but
 * for the room of its bits, and is remembered, so that a later tidy finds it.
 */
async function dropMark(
  context: StoreContext,
  layout: ReplicaLayout,
  id: BranchId,
  options: CallOptions,
): Promise<void> {
  const branch = await readBranch(layout, id);
  if (branch === null || branch.mark === null) return;
  const { mark: name } = branch;
  try {
    for (const { key } of branch.disks) {
      const path = layout.branchImage(id, key);
      const isThere = (await readBitmaps(path)).some((bitmap) => bitmap.name === name);
      if (isThere) await context.images.removeBitmap({ path, name }, options);
    }
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'image-in-use') return;
    throw error;
  }
  context.crashPoint('promote: mark removed');
  await writeBranch(layout, { ...branch, mark: null });
}

async function removeAllElse(
  context: StoreContext,
  layout: ReplicaLayout,
  record: ReplicaRecord,
): Promise<void> {
  for (const id of await pointIds(layout)) await removePoint(layout, id);
  context.crashPoint('promote: points gone');
  for (const id of await branchIds(layout)) {
    if (id !== record.promotedBranchId) await removeBranchFolder(layout, id);
  }
  context.crashPoint('promote: branches gone');
  const layers = new Set([
    ...record.layers.map(({ id }) => id),
    ...record.partials.flatMap((partial) => partial.layers.map(({ id }) => id)),
    ...record.debris,
  ]);
  for (const id of layers) await removeLayerFolder(layout, id);
  context.crashPoint('promote: layers gone');
  await writeRecord(layout, { ...record, layers: [], partials: [], merges: [], debris: [] });
}
