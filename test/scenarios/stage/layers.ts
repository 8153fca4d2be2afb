import type { LayerId, ReplicaId } from '../../../src/domain/ids.ts';
import type { SimulatedHost } from '../../../src/simulator/host.ts';
import type { Play } from './play.ts';

type PlacedLayer = {
  readonly host: SimulatedHost;
  readonly replicaId: ReplicaId;
  readonly layerId: LayerId;
};

/** The newest layer of a disk of the point that the log calls by this label. Throws when there is none. */
export async function layerOf(
  { site, chronicle }: Play,
  label: string,
  disk: string,
): Promise<PlacedLayer> {
  for (const host of site.world.hosts.values()) {
    for (const folder of host.replicas.values()) {
      for (const { point } of folder.points.values()) {
        if (chronicle.names.of(point.id) !== label) continue;
        const found = point.disks.find(({ key }) => key === disk);
        if (found !== undefined) return { host, replicaId: folder.id, layerId: found.layerId };
      }
    }
  }
  throw new Error(`there is no ${disk} in ${label}`);
}
