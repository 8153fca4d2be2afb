/** What a replica is in the middle of, put together again from its branch and from what the host of production has of it. Pure. */
import type { FailbackRecord } from '../failover/failback.ts';
import {
  type FailbackStand,
  type FoundLayers,
  failbackStand,
} from '../failover/failback-evidence.ts';
import { addStopOf, type Fencing } from '../failover/fencing.ts';
import { type HostId, operationId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { PowerState } from '../vm/vm.ts';
import type { FoundBranch, FoundFolder, FoundVm } from './rebuild.ts';
import type { FailoverRecord } from './replica.ts';

/** What the host that production is on, or goes back to, tells of a replica. */
export type FoundHome = {
  readonly hostId: HostId;
  readonly hostName: string;
  /** The highest epoch that it has seen. */
  readonly epoch: number;
  readonly failbacks: readonly FoundLayers[];
  /** Of the VM of the failback that the branch tells of. */
  readonly homePower: PowerState | 'absent';
};

export type Standing = {
  readonly branch: FoundBranch;
  /** Null: no failback is told of. */
  readonly stand: FailbackStand | null;
};

/** The branch that the replica stands in on, with how far home it is; null: it does not stand in. */
export function standingOf(folder: FoundFolder, vm: FoundVm | null): Standing | null {
  const active = folder.branches.filter(({ state }) => state === 'active');
  // While production is on its layers the replica's VM may be defined on nothing.
  const branch =
    active.find(({ id }) => id === vm?.branchId) ??
    active.find(({ about }) => (about?.failback ?? null) !== null);
  if (branch === undefined) return null;
  const stand = standOf(folder, branch);
  const isOver = stand?.type === 'over';
  const isResting = vm?.branchId !== branch.id && (stand === null || stand.type === 'none');
  return isOver || isResting ? null : { branch, stand };
}

function standOf({ home, points }: FoundFolder, { about }: FoundBranch): FailbackStand | null {
  const told = about?.failback ?? null;
  if (told === null) return null;
  if (home === null) {
    const because = `its failback ${told.id} goes to ${told.homeHostName}, which is not known here or does not answer`;
    return { type: 'unclear', because };
  }
  const layers = home.failbacks.find(({ failbackId }) => failbackId === told.id) ?? null;
  const newestPointId = points.at(-1)?.id ?? null;
  return failbackStand({ told, layers, homePower: home.homePower, newestPointId });
}

const REBUILT = operationId('op-rebuilt');

/** Of a branch that an older version made, nobody knows what was done to the source: nothing that an undo would take back. */
export function rebuiltFailover(
  { id, pointId, overBranchId, about }: FoundBranch,
  stand: FailbackStand | null,
  isConnected: boolean,
  now: Instant,
): FailoverRecord {
  const told = about?.failover ?? null;
  const fencing: Fencing = {
    fence: told?.fence ?? 'none',
    fencedNics: told === null ? [] : told.fencedNics,
  };
  const givenUp = stand?.type === 'none' ? (about?.failback ?? null) : null;
  return {
    pointId,
    branchId: id,
    overBranchId,
    operationId: REBUILT,
    reason: told?.reason ?? 'found in progress when the catalogue was rebuilt',
    ...(givenUp === null ? fencing : addStopOf(givenUp, fencing)),
    isDuplicateAccepted: told?.isDuplicateAccepted ?? false,
    isSourceReleased: told?.isSourceReleased ?? false,
    startedAt: told?.startedAt ?? now,
    isConnected,
    connectionBecause: 'it was found so when the catalogue was rebuilt',
    runningAfterMs: null,
    answeringAfterMs: null,
    answeredBy: null,
  };
}

/**
 * A failback as it is to go on; null when there is none. Nothing says how far its passes came: the next one begins anew, over
 * untouched disks. Nor does it switch over by itself, for whoever asked for that does not know what happened since.
 */
export function rebuiltFailback(
  { branch, stand }: Standing,
  home: FoundHome | null,
  now: Instant,
): FailbackRecord | null {
  const told = branch.about?.failback ?? null;
  if (told === null || home === null) return null;
  if (stand?.type !== 'ready-to-switch' && stand?.type !== 'switched') return null;
  const { id, layers, startedAt, appliesChanges, hasStoppedHome, switched } = told;
  const vmId = home.failbacks.find(({ failbackId }) => failbackId === id)?.vmId ?? null;
  return {
    id,
    home: { ...told.home, hostId: home.hostId, vmId: vmId ?? told.home.vmId },
    layers,
    operationId: REBUILT,
    startedAt,
    switchover: { type: 'manual' },
    appliesChanges,
    hasStoppedHome,
    syncedMark: null,
    syncedAt: now,
    syncedBytes: 0,
    passes: 1,
    switched:
      stand.type === 'ready-to-switch' || switched === null
        ? null
        : {
            ...switched,
            trackedDisks: layers.map(({ key }) => key),
            switchedAt: now,
            runningAfterMs: null,
            answeringAfterMs: null,
          },
  };
}
