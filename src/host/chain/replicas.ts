/** Replicas as a whole: made, found, renumbered, deleted. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ReplicaId, replicaId } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FoundReplica, StoreCommand } from '../../ports/replica-store.ts';
import { invalidFile } from '../file-parsing.ts';
import { branchIds } from './branch-file.ts';
import { requireUnused } from './branches.ts';
import { checkEpoch, layoutOf, type StoreContext, sessionName } from './context.ts';
import { makeFolder, removeFolder } from './durable-file.ts';
import { FOLDER_MODE } from './layout.ts';
import { namesIn, pointIds } from './point-file.ts';
import { newRecord, type ReplicaRecord, readRecord, writeRecord } from './record.ts';

export async function createReplica(
  context: StoreContext,
  command: StoreCommand & { readonly name: string; readonly about?: Json },
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const existing = await readRecord(layout);
  if (existing !== null) {
    checkEpoch(existing, command);
    const { epoch, about = existing.about } = command;
    const isSame = JSON.stringify(about) === JSON.stringify(existing.about);
    if (existing.epoch === epoch && isSame) return;
    await writeRecord(layout, { ...existing, epoch, about });
    return;
  }
  if ((await pointIds(layout)).length > 0) {
    // An empty record beside points would call their layers debris.
    throw invalidFile(layout.record, 'it is missing although there are restore points');
  }
  // On its own, because with a strict umask a folder made on the way would shut out QEMU's user.
  await makeFolder(context.storageFolder, FOLDER_MODE);
  await makeFolder(layout.folder, FOLDER_MODE);
  for (const folder of [layout.layers, layout.points, layout.branches]) {
    await makeFolder(folder, FOLDER_MODE);
  }
  context.crashPoint('create: folders made');
  const { replicaId: id, name, epoch, about = null } = command;
  await writeRecord(layout, { ...newRecord({ id, name, epoch }), about });
}

/** A replica whose record cannot be read is listed under its id: hiding it would not help its owner. */
export async function foundReplicas(context: StoreContext): Promise<readonly FoundReplica[]> {
  const found: FoundReplica[] = [];
  for (const name of await namesIn(context.storageFolder)) {
    const id = idOf(name);
    if (id === null) continue;
    const layout = layoutOf(context, id);
    const record = await recordOrDamage(() => readRecord(layout));
    const isLost = record === null && (await pointIds(layout)).length > 0;
    if (record === 'damaged' || isLost) {
      found.push({ replicaId: id, name: id, epoch: 0, about: null, isDamaged: true });
    } else if (record !== null) {
      const { name: called, epoch, about } = record;
      found.push({ replicaId: id, name: called, epoch, about, isDamaged: false });
    }
  }
  return found;
}

/** Removes even a replica whose record cannot be read; a readable one guards by its epoch. */
export async function deleteReplica(
  context: StoreContext,
  command: StoreCommand,
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const record = await recordOrDamage(() => readRecord(layout));
  if (record !== null && record !== 'damaged') checkEpoch(record, command);
  for (const id of await branchIds(layout)) await requireUnused(context, layout, id, options);
  for (const name of context.server.sessions(sessionName.allOf(command.replicaId))) {
    await context.server.stop(name, options);
  }
  await removeFolder(layout.folder, join(context.storageFolder, `.gone-${command.replicaId}`));
}

/** Removes what an interrupted deletion left. */
export async function sweepReplicas(context: StoreContext): Promise<void> {
  for (const name of await namesIn(context.storageFolder)) {
    if (!name.startsWith('.gone-')) continue;
    await rm(join(context.storageFolder, name), { recursive: true, force: true });
  }
}

async function recordOrDamage(
  read: () => Promise<ReplicaRecord | null>,
): Promise<ReplicaRecord | null | 'damaged'> {
  try {
    return await read();
  } catch {
    return 'damaged';
  }
}

function idOf(name: string): ReplicaId | null {
  try {
    return replicaId(name);
  } catch {
    return null;
  }
}
