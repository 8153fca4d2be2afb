/** Exports of a simulated host: images that stand alone, there from the moment they are sealed. */
import { UnderstudyError } from '../domain/error.ts';
import type { DiskKey } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { ExportCommand, ExportedFiles, OpenExportDisk } from '../ports/export-files.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { SimulatedHost, Surroundings } from './host.ts';
import { createImage, heldBytes, type Image, releaseImage } from './image.ts';
import { serveImage } from './partial-point.ts';

export type SimulatedExport = {
  readonly disks: Map<DiskKey, Image>;
  endpoints: readonly BlockEndpoint[];
  isSealed: boolean;
  about: Json;
};

const EXPORT_ID = /^[a-z0-9][a-z0-9-]{0,100}$/;

type At = { readonly host: SimulatedHost; readonly around: Surroundings };

type OpenExport = ExportCommand & {
  readonly disks: readonly { readonly key: DiskKey; readonly sizeBytes: number }[];
};

export function openExport(at: At, { exportId, disks }: OpenExport): readonly OpenExportDisk[] {
  const { host, around } = at;
  if (!EXPORT_ID.test(exportId)) {
    throw new UnderstudyError('invalid-id', { what: 'export', value: exportId });
  }
  const begun = host.exports.get(exportId) ?? newExport();
  host.exports.set(exportId, begun);
  stopServing(at, begun);
  const opened = disks.map(({ key, sizeBytes }) => {
    const path = `${host.storage.path}/exports/${exportId}/${key}.qcow2`;
    const room = host.storage;
    const image =
      begun.disks.get(key) ??
      createImage({ path, format: 'qcow2', sizeBytes, backing: null, room });
    begun.disks.set(key, image);
    around.files.set(path, { type: 'disk', image });
    const target = serveImage(at, `export/${exportId}/${key}`, image, true);
    return { key, target, recordsPath: `${path}.records` };
  });
  begun.endpoints = opened.map(({ target }) => target);
  return opened;
}

export function sealExport(
  at: At,
  { exportId, about }: ExportCommand & { readonly about: Json },
): ExportedFiles {
  const begun = at.host.exports.get(exportId);
  if (begun === undefined) {
    const reason = `Export ${exportId} was never begun`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  stopServing(at, begun);
  begun.isSealed = true;
  begun.about = about;
  const folder = `${at.host.storage.path}/exports/${exportId}`;
  const disks = [...begun.disks].map(([key, image]) => {
    at.around.files.delete(`${image.path}.records`);
    return { key, path: image.path, fileBytes: heldBytes(image) };
  });
  return { folder, disks };
}

export function discardExport(at: At, { exportId }: ExportCommand): void {
  const begun = at.host.exports.get(exportId);
  if (begun === undefined || begun.isSealed) return;
  stopServing(at, begun);
  for (const image of begun.disks.values()) {
    at.around.files.delete(image.path);
    at.around.files.delete(`${image.path}.records`);
    releaseImage(image);
  }
  at.host.exports.delete(exportId);
}

function newExport(): SimulatedExport {
  return { disks: new Map(), endpoints: [], isSealed: false, about: null };
}

function stopServing({ around }: At, { endpoints }: SimulatedExport): void {
  for (const endpoint of endpoints) around.endpoints.close(endpoint);
}
