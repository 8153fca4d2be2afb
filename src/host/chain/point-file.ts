/** points/<id>.json: a restore point exists exactly when this file does. */
import { readdir, rm } from 'node:fs/promises';
import { z } from 'zod';
import { type PointId, pointId } from '../../domain/ids.ts';
import { comparePoints, type RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import * as text from '../file-parsing.ts';
import { syncFolder, writeJson } from './durable-file.ts';
import { isNodeError } from './errors.ts';
import type { ReplicaLayout } from './layout.ts';

const POINT_VERSION = 1;

/** A point and which state files lie beside it. */
export type StoredPoint = {
  readonly point: RestorePoint;
  readonly sidecars: readonly Sidecar['name'][];
};

const diskSchema = z.strictObject({
  key: text.diskKeyText,
  sizeBytes: text.byteCount,
  layerId: text.layerIdText,
  transfer: z.enum(['full', 'incremental', 'resync']),
  because: z.string(),
  sentBytes: text.byteCount,
  rootHash: text.hashText,
  mark: text.markNameText.nullable(),
});

const schema = z.strictObject({
  formatVersion: z.literal(POINT_VERSION),
  id: text.pointIdText,
  replicaId: text.replicaIdText,
  takenAt: text.moment,
  sealedAt: text.moment,
  consistency: z.enum(['crash', 'application']),
  disks: z.array(diskSchema),
  rootHash: text.hashText,
  vm: text.vmDescription,
  isPinned: z.boolean(),
  sidecars: text.sidecarNames,
});

/** The write that makes the point exist, or replaces its file at once. */
export function writePoint(layout: ReplicaLayout, stored: StoredPoint): Promise<void> {
  const { point, sidecars } = stored;
  return writeJson(layout.pointFile(point.id), {
    formatVersion: POINT_VERSION,
    ...point,
    sidecars,
  });
}

/** Null when there is no such point. Throws `invalid-file`. */
export async function readPoint(layout: ReplicaLayout, id: PointId): Promise<StoredPoint | null> {
  const path = layout.pointFile(id);
  const content = await text.readJson(path);
  if (content === null) return null;
  const { formatVersion: _, sidecars, ...point } = text.parseFile(schema, content, path);
  if (point.id !== id) throw text.invalidFile(path, `it is of restore point ${point.id}`);
  if (point.replicaId !== layout.replicaId) {
    throw text.invalidFile(path, `it is of replica ${point.replicaId}`);
  }
  if (text.hasRepetition(point.disks.map((disk) => disk.key))) {
    throw text.invalidFile(path, 'it has a disk twice');
  }
  return { point, sidecars };
}

/** Every point, oldest first. Throws `invalid-file` for the first that cannot be read. */
export async function readPoints(layout: ReplicaLayout): Promise<readonly StoredPoint[]> {
  const stored = [];
  for (const id of await pointIds(layout)) {
    // Null: it was retired between the listing and the reading.
    const found = await readPoint(layout, id);
    if (found !== null) stored.push(found);
  }
  return stored.toSorted((a, b) => comparePoints(a.point, b.point));
}

/** Ids of the point files that are there, readable or not. */
export async function pointIds(layout: ReplicaLayout): Promise<readonly PointId[]> {
  const names = await namesIn(layout.points);
  return names.flatMap((name) => {
    if (!name.endsWith('.json')) return [];
    try {
      return [pointId(name.slice(0, -'.json'.length))];
    } catch {
      // No point of ours has such a name: `inspect` reports it as a foreign file.
      return [];
    }
  });
}

/** Takes the point away: its file first, which is what makes it one. A missing one is success. */
export async function removePoint(layout: ReplicaLayout, id: PointId): Promise<void> {
  await rm(layout.pointFile(id), { force: true });
  await syncFolder(layout.points);
  await rm(layout.pointSidecar(id, 'nvram'), { force: true });
  await rm(layout.pointSidecar(id, 'tpm'), { force: true });
}

/** Sorted names; none when there is no such folder. */
export async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (isNodeError(error, 'ENOENT')) return [];
    throw error;
  }
}
