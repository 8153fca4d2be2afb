/**
 * Room in the storage where replicas live. Replication leaves a reserve of it free, because others write there too: a replica
 * that serves and would be paused without it, the merge of an old layer, an export.
 */
import { formatBytes, GIB } from '../bytes.ts';
import { UnderstudyError } from '../error.ts';
import type { PreflightFinding } from '../vm/preflight.ts';
import type { Host } from './host.ts';

/** The file system of a storage folder: what may still be written there, and how large it is in all. */
export type StorageRoom = { readonly freeBytes: number; readonly sizeBytes: number };

const RESERVE_SHARE = 0.05;
const RESERVE_BYTES_MAX = GIB;

/** What replication leaves free: what was asked for, else the smaller of a twentieth and 1 GiB. */
export function reserveBytes(
  { storageReserveBytes }: Pick<Host, 'storageReserveBytes'>,
  { sizeBytes }: StorageRoom,
): number {
  return storageReserveBytes ?? Math.min(Math.floor(sizeBytes * RESERVE_SHARE), RESERVE_BYTES_MAX);
}

/** Why a run that will need so much must not begin, or go on when it needs more; null: it may. */
export function whyNoRoom(
  host: Pick<Host, 'storageReserveBytes'>,
  room: StorageRoom,
  neededBytes: number,
): string | null {
  const kept = reserveBytes(host, room);
  if (room.freeBytes >= kept + neededBytes) return null;
  const free = `${formatBytes(room.freeBytes)} are free`;
  return neededBytes === 0
    ? `${free}, and ${formatBytes(kept)} are kept in reserve`
    : `${free}, and the run needs about ${formatBytes(neededBytes)} beside the ${formatBytes(kept)} that are kept in reserve`;
}

/** The error of a run that found too little room, for whoever has to make some. */
export function tooLittleRoom(
  { name, storageFolder }: Pick<Host, 'name' | 'storageFolder'>,
  reason: string,
  cause?: unknown,
): UnderstudyError {
  const path = `${storageFolder} of host ${name}`;
  return new UnderstudyError('target-full', { path, reason }, cause);
}

/** No storage takes more in a second; what overshoots the reserve between two looks is within it at any real pace. */
const BYTES_PER_MS_MAX = (4 * GIB) / 1000;
const LOOK_MS_MIN = 50;
export const LOOK_MS_MAX = 10_000;

/** How soon to look again while something is written, so that the reserve is not passed unseen. */
export function lookAgainMs(host: Pick<Host, 'storageReserveBytes'>, room: StorageRoom): number {
  const untilReserveMs = (room.freeBytes - reserveBytes(host, room)) / BYTES_PER_MS_MAX;
  return Math.min(Math.max(Math.floor(untilReserveMs), LOOK_MS_MIN), LOOK_MS_MAX);
}

/** Later restore points need room, too: with less than this share of the first one left, it fits only just. */
const COMFORT_SHARE = 0.25;

/** What is to be said before a VM is protected whose first restore point needs so much, after others of its job. */
export function roomFinding(
  host: Pick<Host, 'name' | 'storageFolder' | 'storageReserveBytes'>,
  room: StorageRoom,
  { neededBytes, othersBytes }: { readonly neededBytes: number; readonly othersBytes: number },
): PreflightFinding | null {
  const kept = reserveBytes(host, room);
  const leftBytes = room.freeBytes - kept - othersBytes - neededBytes;
  if (leftBytes >= neededBytes * COMFORT_SHARE) return null;
  const others =
    othersBytes === 0 ? '' : `, other VMs of the job need about ${formatBytes(othersBytes)}`;
  const message =
    `Its first restore point needs about ${formatBytes(neededBytes)}; at ${host.storageFolder} on host ${host.name} ` +
    `${formatBytes(room.freeBytes)} are free${others}, and ${formatBytes(kept)} are kept in reserve. `;
  return leftBytes < 0
    ? { severity: 'blocks', element: 'storage', message: `${message}Make room there.` }
    : {
        severity: 'warns',
        element: 'storage',
        message: `${message}That is only just enough: later restore points need room, too.`,
      };
}
