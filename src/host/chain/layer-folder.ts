import { join } from 'node:path';
import type { LayerId } from '../../domain/ids.ts';
import { removeFolder } from './durable-file.ts';
import type { ReplicaLayout } from './layout.ts';

/** At once by a rename, then for good. A missing one is success. */
export function removeLayerFolder(layout: ReplicaLayout, id: LayerId): Promise<void> {
  return removeFolder(layout.layerFolder(id), join(layout.layers, `.gone-${id}`));
}
