/**
 * Exports: copies of a point or a branch that stand alone, for whoever has only qemu-img. They are filled under a name that
 * means "being made", and get their own by one rename; from then on they belong to the person who asked.
 */
import { chmod, rm, stat } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import { type DiskKey, diskKey } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ExportCommand, ExportedFiles, OpenExportDisk } from '../../ports/export-files.ts';
import { isThere } from '../is-there.ts';
import { type StoreContext, sessionName } from './context.ts';
import { makeFolder, renameFolder, syncFile, writeJson } from './durable-file.ts';
import { exportLayout, FOLDER_MODE, PARTIAL_MODE } from './layout.ts';
import { namesIn } from './point-file.ts';
import { transferTargets } from './transfer-targets.ts';

/** Safe as the name of a folder. */
const EXPORT_ID = /^[a-z0-9][a-z0-9-]{0,100}$/;

export async function openExport(
  context: StoreContext,
  command: ExportCommand & {
    readonly disks: readonly { readonly key: DiskKey; readonly sizeBytes: number }[];
  },
  options: CallOptions,
): Promise<readonly OpenExportDisk[]> {
  const layout = layoutOf(context, command);
  await makeFolder(context.storageFolder, FOLDER_MODE);
  await makeFolder(layout.exports, FOLDER_MODE);
  await makeFolder(layout.unfinished, FOLDER_MODE);
  for (const { key, sizeBytes } of command.disks) {
    const path = layout.image(layout.unfinished, key);
    if (await isThere(path)) continue;
    const image = { path, sizeBytes, backing: null, mode: PARTIAL_MODE };
    await context.images.create(image, options);
  }
  context.crashPoint('export: disks made');
  const images = command.disks.map(({ key, sizeBytes }) => ({
    exportName: key,
    path: layout.image(layout.unfinished, key),
    sizeBytes,
    isFilled: true,
    // A disk that was copied is not copied again, whatever happens before the last one is.
    isFlushedAtEnd: false,
  }));
  const session = sessionName.ofExport(command.replicaId, command.exportId);
  const targets = await transferTargets(context, session, images, options);
  return command.disks.map(({ key }, index) => {
    const target = targets[index];
    if (target === undefined) throw new RangeError(`disk ${key} is no target`);
    return { key, target, recordsPath: layout.records(key) };
  });
}

export async function sealExport(
  context: StoreContext,
  command: ExportCommand & { readonly about: Json },
  options: CallOptions,
): Promise<ExportedFiles> {
  const layout = layoutOf(context, command);
  if (await isThere(layout.folder)) return exportedFiles(context, command);
  if (!(await isThere(layout.unfinished))) {
    const reason = `Export ${command.exportId} was never begun`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  await context.server.stop(sessionName.ofExport(command.replicaId, command.exportId), options);
  for (const key of await disksIn(layout.unfinished)) {
    const path = layout.image(layout.unfinished, key);
    await chmod(path, PARTIAL_MODE);
    await syncFile(path);
    await rm(layout.records(key), { force: true });
  }
  await writeJson(layout.about(layout.unfinished), command.about);
  context.crashPoint('export: complete');
  await renameFolder(layout.unfinished, layout.folder);
  context.crashPoint('export: renamed');
  return exportedFiles(context, command);
}

export async function discardExport(
  context: StoreContext,
  command: ExportCommand,
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command);
  await context.server.stop(sessionName.ofExport(command.replicaId, command.exportId), options);
  await rm(layout.unfinished, { recursive: true, force: true });
}

async function exportedFiles(
  context: StoreContext,
  command: ExportCommand,
): Promise<ExportedFiles> {
  const { folder, image } = layoutOf(context, command);
  const disks = [];
  for (const key of await disksIn(folder)) {
    const path = image(folder, key);
    // st_blocks counts 512 bytes whatever the file system's block (stat(2)).
    disks.push({ key, path, fileBytes: (await stat(path)).blocks * 512 });
  }
  return { folder, disks };
}

async function disksIn(folder: string): Promise<readonly DiskKey[]> {
  const images = (await namesIn(folder)).filter((name) => name.endsWith('.qcow2'));
  return images.map((name) => diskKey(name.slice(0, -'.qcow2'.length)));
}

function layoutOf({ storageFolder }: StoreContext, { exportId }: ExportCommand) {
  if (EXPORT_ID.test(exportId)) return exportLayout(storageFolder, exportId);
  throw new UnderstudyError('invalid-id', { what: 'export', value: exportId });
}
