/** Seeds of a simulated host: any image that a path of it leads to, read and never written. */
import { UnderstudyError } from '../domain/error.ts';
import type { PointId } from '../domain/ids.ts';
import type { ReadableDisk, ReplicaStore, SeedDisk, SeedImage } from '../ports/replica-store.ts';
import { diskAt } from './files.ts';
import { isImageOpen, type SimulatedHost, type Surroundings } from './host.ts';
import type { Image } from './image.ts';
import { type Folder, serveImage } from './partial-point.ts';

type At = { readonly host: SimulatedHost; readonly around: Surroundings };

export function describeSeed(at: At, files: readonly SeedImage[]): readonly SeedDisk[] {
  return files.map((file) => {
    const { format, sizeBytes } = requireImage(at, file);
    return { key: file.key, format, sizeBytes };
  });
}

type OpenSeed = Parameters<ReplicaStore['openSeed']>[0];

/** What an earlier reading of this key served has been closed. */
export function openSeed(at: At, { key, replicaId, files }: OpenSeed): readonly ReadableDisk[] {
  const images = files.map((file) => requireImage(at, file));
  const disks = files.map((file, index): ReadableDisk => {
    const image = images[index] as Image;
    const sizeBytes = Math.min(image.sizeBytes, file.sizeBytesMax);
    const shown = { ...image, sizeBytes };
    const endpoint = serveImage(at, `seed/${replicaId}/${file.key}`, shown, false);
    return { key: file.key, sizeBytes, endpoint, hashesPath: null, extents: { type: 'allocated' } };
  });
  // Nobody is kept from what is only read: no image counts as open.
  const endpoints = disks.map(({ endpoint }) => endpoint);
  at.host.readings.set(key, { replicaId, endpoints, paths: [], images: [] });
  return disks;
}

function requireImage({ host, around }: At, { path, format }: SeedImage): Image {
  const unfit = (reason: string) => new UnderstudyError('seed-unfit', { seed: path, reason });
  const image = diskAt(around.files, path);
  if (image === null || !path.startsWith(`/${host.id}/`)) {
    throw unfit('there is no such file on the target host');
  }
  const { storage } = host;
  if (path.startsWith(`${storage.path}/`) && !path.startsWith(`${storage.path}/exports/`)) {
    throw unfit('it belongs to a replica; name that replica instead of its file');
  }
  if (image.backing !== null && format === null) throw unfit('it stands on another image');
  if (isImageOpen(host, image)) {
    throw new UnderstudyError('image-in-use', { path, reason: 'a VM runs on it' });
  }
  return image;
}

/** Repeatable: what was settled before is not counted again. */
export function settlePartialPoint({ folder, around }: Folder, pointId: PointId): void {
  const partial = folder.partials.get(pointId);
  if (partial === undefined) {
    throw new UnderstudyError('point-missing', { replica: folder.id, point: pointId });
  }
  for (const disk of partial.disks) {
    const spool = around.files.get(disk.recordsPath);
    if (spool?.type !== 'records') continue;
    disk.seed = new Map([...spool.records].filter(([, token]) => token !== 0));
    around.files.delete(disk.recordsPath);
  }
}
