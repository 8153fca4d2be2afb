/**
 * Carrying the work back to production: where to, when production takes over, and what a replica remembers meanwhile.
 * Pure decisions; the life cycle's phases are in domain/replica/phase.ts.
 */
import type { DiskKey, FailbackId, HostId, MarkName, OperationId, PointId, VmId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import { type ConfigurationChange, configurationChanges } from '../vm/configuration-change.ts';
import type { VmDescription } from '../vm/vm.ts';

/** When production takes over, once the bulk has been copied. */
export type SwitchoverMode =
  /** As soon as it can. */
  | { readonly type: 'automatic' }
  /** When somebody says so. */
  | { readonly type: 'manual' }
  | { readonly type: 'at'; readonly at: Instant }
  /** When what the replica wrote since the last pass is at most this. */
  | { readonly type: 'below'; readonly bytes: number };

/** Which VM takes over. */
export type FailbackHome = {
  readonly hostId: HostId;
  /** Null: a new VM, made at the switchover. */
  readonly vmId: VmId | null;
  readonly name: string;
  /** The VM that the replica stands in for; a restored copy of it elsewhere; or none yet. */
  readonly kind: 'original' | 'copy' | 'new';
};

/** A layer over one of production's disks, or a disk that production has not got yet. */
export type LayerPlan = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly base: 'disk' | 'none';
  /** The size of the disk below, where the layer is larger. Not kept with the branch, so that a rebuild does not know it. */
  readonly grownFromBytes?: number;
  /** Since which mark the changes of the disk below are asked for. */
  readonly since: MarkName | null;
};

export type FailbackRecord = {
  readonly id: FailbackId;
  readonly home: FailbackHome;
  readonly layers: readonly LayerPlan[];
  readonly operationId: OperationId;
  readonly startedAt: Instant;
  readonly switchover: SwitchoverMode;
  /** Whether differences of the configuration are carried over to production. */
  readonly appliesChanges: boolean;
  /** Production ran and was shut down for it. */
  readonly hasStoppedHome: boolean;
  /** What the replica wrote since this mark is still to be moved; null when all must be looked at again. */
  readonly syncedMark: MarkName | null;
  readonly syncedAt: Instant;
  /** Moved by the last pass. */
  readonly syncedBytes: number;
  readonly passes: number;
  readonly switched: SwitchoverRecord | null;
};

/** Production runs the data: present exactly in Failback. */
export type SwitchoverRecord = {
  /** The restore point that the replica's state becomes when the failback is committed. */
  readonly pointId: PointId;
  /** Of that state, by the target host's clock. */
  readonly takenAt: Instant;
  /** Disks of production that can tell what changed since that state. */
  readonly trackedDisks: readonly DiskKey[];
  readonly changes: readonly ConfigurationChange[];
  readonly switchedAt: Instant;
  /** From the replica being asked to shut down to production running; null until measured. */
  readonly runningAfterMs: number | null;
  readonly answeringAfterMs: number | null;
};

export type SwitchoverStep = 'switch' | 'catch-up' | 'wait';

/** Between two passes that only keep the last delta short. */
const CATCH_UP_EVERY_MS = 10 * 60_000;
/** Where the size of a pass decides. */
const CLOSE_UP_EVERY_MS = 60_000;

/** Each takes what serves down for a moment. What fails so often fails again: a person decides. */
export const SWITCHOVERS_BY_ITSELF_MAX = 3;

/** What was tried in vain for this failback. */
export type TriedInVain = {
  /** When passes and switchovers came to nothing: some of them, perhaps, by a clock that was ahead. */
  readonly failedAt: readonly Instant[];
  readonly switchovers: number;
};

/** What is to be done now about a failback that is ready to switch. */
export function decideSwitchover(
  { syncedAt, syncedBytes, passes, ...failback }: FailbackRecord,
  { failedAt, switchovers }: TriedInVain,
  now: Instant,
): SwitchoverStep {
  const switchover: SwitchoverMode =
    switchovers < SWITCHOVERS_BY_ITSELF_MAX ? failback.switchover : { type: 'manual' };
  const sinceFailed = Math.min(...failedAt.map((at) => Math.abs(now - at)));
  const sinceTry = Math.min(sinceFailed, Math.abs(now - syncedAt));
  const mayTry = sinceFailed >= CLOSE_UP_EVERY_MS;
  switch (switchover.type) {
    case 'automatic':
      return mayTry ? 'switch' : 'wait';
    case 'at':
      if (now >= switchover.at) return mayTry ? 'switch' : 'wait';
      break;
    case 'below': {
      // The first pass moved what had gathered before anybody looked, and an old one was long ago: neither says what is left.
      const saysWhatIsLeft = passes > 1 && Math.abs(now - syncedAt) < CLOSE_UP_EVERY_MS;
      if (saysWhatIsLeft && syncedBytes <= switchover.bytes) return mayTry ? 'switch' : 'wait';
      const isDue = passes === 1 ? mayTry : sinceTry >= CLOSE_UP_EVERY_MS;
      return isDue ? 'catch-up' : 'wait';
    }
    case 'manual':
      break;
  }
  return sinceTry >= CATCH_UP_EVERY_MS ? 'catch-up' : 'wait';
}

/** Over production's own disks where it has them, else new ones. `mark`: what the newest restore point names of them. */
export function planLayers(
  replica: VmDescription,
  home: VmDescription | null,
  mark: MarkName | null,
): readonly LayerPlan[] {
  return replica.disks.map(({ key, sizeBytes }) => {
    const own = home?.disks.find((disk) => disk.key === key);
    if (own === undefined) return { key, sizeBytes, base: 'none', since: null };
    const layer = { key, sizeBytes, base: 'disk', since: mark } as const;
    return own.sizeBytes < sizeBytes ? { ...layer, grownFromBytes: own.sizeBytes } : layer;
  });
}

/** With what the replica has got since: disks that were added, and larger sizes. One that it lost keeps what was copied. */
export function extendLayers(
  layers: readonly LayerPlan[],
  disks: readonly { readonly key: DiskKey; readonly sizeBytes: number }[],
): readonly LayerPlan[] {
  const grown = layers.map((layer) => {
    const now = disks.find(({ key }) => key === layer.key)?.sizeBytes ?? 0;
    if (now <= layer.sizeBytes) return layer;
    if (layer.base === 'none') return { ...layer, sizeBytes: now };
    return { ...layer, sizeBytes: now, grownFromBytes: layer.grownFromBytes ?? layer.sizeBytes };
  });
  const added = disks
    .filter(({ key }) => !layers.some((layer) => layer.key === key))
    .map(({ key, sizeBytes }) => ({ key, sizeBytes, base: 'none', since: null }) as const);
  return [...grown, ...added];
}

/**
 * What becomes different at the VM that takes over. Disks come in any case, as they were laid: without them production would
 * not be what the replica is. The rest comes only on request.
 */
export function switchoverChanges(
  layers: readonly LayerPlan[],
  own: VmDescription,
  replica: VmDescription,
  appliesChanges: boolean,
): readonly ConfigurationChange[] {
  const ofLayers = layers.flatMap(layerChange);
  if (!appliesChanges) return ofLayers;
  const isOfLayers = ({ type }: ConfigurationChange) =>
    type === 'disk-added' || type === 'disk-grown';
  return [...configurationChanges(own, replica).filter((one) => !isOfLayers(one)), ...ofLayers];
}

/** Production is parked by then, and its own disks cannot be asked any more. */
function layerChange({ key, sizeBytes, base, grownFromBytes }: LayerPlan): ConfigurationChange[] {
  if (base === 'none') return [{ type: 'disk-added', key, sizeBytes }];
  if (grownFromBytes === undefined) return [];
  return [{ type: 'disk-grown', key, fromBytes: grownFromBytes, toBytes: sizeBytes }];
}

/** Why this VM cannot take the work back, a sentence part; null when it can. */
export function homeRefusal(home: VmDescription, replica: VmDescription): string | null {
  for (const { key, sizeBytes, unsupportedBecause } of home.disks) {
    const own = replica.disks.find((disk) => disk.key === key);
    if (own === undefined) continue;
    if (unsupportedBecause !== null)
      return `its disk ${key} cannot be written to: ${unsupportedBecause}`;
    if (sizeBytes > own.sizeBytes) {
      return `its disk ${key} has ${sizeBytes} bytes, more than the ${own.sizeBytes} of the replica`;
    }
  }
  return null;
}
