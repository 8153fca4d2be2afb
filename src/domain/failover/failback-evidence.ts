/**
 * Where a failback stands, judged by what lies on the hosts, for a controller that lost its own records. The branch tells what
 * was about to be done, the working layers what was; who runs tells nothing, because anybody can start and stop VMs. Pure.
 *
 *   working layers   the failback is
 *   ──────────────   ──────────────────────────────────────────────────────────────────────────────────────
 *   none             not begun, or given up: the replica stands in as before
 *   dropped          given up, and its layers are still to go
 *   laid             ready to switch
 *   attached         switched over: a person decides
 *   committing       switched over, and only the commit leads on
 *   committed        the same; over, where the replica has got newer points since
 */
import type { FailbackId, PointId, VmId } from '../ids.ts';
import type { PowerState } from '../vm/vm.ts';
import type { FailbackAbout } from './branch-about.ts';

/** Working layers as their own record tells of them, whoever laid them. */
export type FoundLayers = {
  readonly failbackId: FailbackId;
  /** Null: a new VM, which was not made yet. */
  readonly vmId: VmId | null;
  /**
   * `laid`: the VM is parked, or its attaching was cut off. `attached`: the VM is defined on them. `committing`: some are merged,
   * and there is no way back. `committed`: the VM has its own disks. `dropped`: nothing runs on them, and a drop was cut off.
   * `unreadable`: there is a record, of whichever replica, and it cannot be read.
   */
  readonly state: 'laid' | 'attached' | 'committing' | 'committed' | 'dropped' | 'unreadable';
};

export type FailbackEvidence = {
  readonly told: FailbackAbout;
  /** Null: there are none. */
  readonly layers: FoundLayers | null;
  /** Of the VM that takes over. */
  readonly homePower: PowerState | 'absent';
  readonly newestPointId: PointId | null;
};

export type FailbackStand =
  | { readonly type: 'none'; readonly hasLayersLeft: boolean }
  | { readonly type: 'ready-to-switch' }
  | { readonly type: 'switched'; readonly isMerging: boolean }
  | { readonly type: 'over' }
  /** A sentence part. */
  | { readonly type: 'unclear'; readonly because: string };

export function failbackStand({
  told,
  layers,
  homePower,
  newestPointId,
}: FailbackEvidence): FailbackStand {
  const { id, switched, home } = told;
  switch (layers?.state) {
    case undefined:
      return { type: 'none', hasLayersLeft: false };
    case 'dropped':
      return { type: 'none', hasLayersLeft: true };
    case 'unreadable':
      return unclear(`the record of its working layers ${id} cannot be read`);
    case 'laid':
      if (homePower === 'off' || homePower === 'absent') return { type: 'ready-to-switch' };
      if (homePower === 'unknown')
        return unclear(`nobody knows whether production VM ${home.name} is off`);
      return unclear(
        `production VM ${home.name} is ${homePower} although its failback ${id} parked it. Power it off to go on with the ` +
          'failback; or, where it runs on its own disks, remove the folder of the failback at its host',
      );
    case 'attached':
    case 'committing':
    case 'committed':
      if (switched === null) {
        return unclear(`its failback ${id} has switched over, and the branch does not say to what`);
      }
      if (layers.state !== 'committed') {
        return { type: 'switched', isMerging: layers.state === 'committing' };
      }
      // Its state at the switchover was sealed before anything was merged.
      if (newestPointId !== switched.pointId) return { type: 'over' };
      return { type: 'switched', isMerging: true };
  }
}

function unclear(because: string): FailbackStand {
  return { type: 'unclear', because };
}
