/** What lies in the folder of working layers, for a controller that lost its own records. Reads only. */
import { UnderstudyError } from '../../domain/error.ts';
import type { FoundLayers } from '../../domain/failover/failback-evidence.ts';
import type { FailbackId, ReplicaId } from '../../domain/ids.ts';
import { seenEpoch } from './host-epochs.ts';
import {
  type LayersRecord,
  type LayersState,
  laidFailbacks,
  layersPlaces,
  readLayers,
} from './layers-record.ts';

export async function foundLayers(
  storageFolder: string,
  replicaId: ReplicaId,
): Promise<{ readonly epoch: number; readonly failbacks: readonly FoundLayers[] }> {
  const failbacks: FoundLayers[] = [];
  for (const failbackId of await laidFailbacks(storageFolder)) {
    const record = await readOrUnreadable(storageFolder, failbackId);
    if (record === 'unreadable') failbacks.push({ failbackId, vmId: null, state: record });
    else if (record?.replicaId === replicaId) {
      failbacks.push({ failbackId, vmId: record.vmId, state: told(record.state) });
    }
  }
  return { epoch: await seenEpoch(storageFolder, replicaId), failbacks };
}

/** A VM that may have been defined on the layers already is parked again before anything else is done. */
function told(state: LayersState): FoundLayers['state'] {
  return state === 'attaching' ? 'laid' : state;
}

/** One damaged record must not hide the others. */
async function readOrUnreadable(
  storageFolder: string,
  id: FailbackId,
): Promise<LayersRecord | null | 'unreadable'> {
  try {
    return await readLayers(layersPlaces(storageFolder, id));
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'invalid-file') return 'unreadable';
    throw error;
  }
}
