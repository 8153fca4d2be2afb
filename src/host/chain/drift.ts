/** Refuses to build on layers that someone else changed. */
import { UnderstudyError } from '../../domain/error.ts';
import type { LayerId } from '../../domain/ids.ts';
import { type ExpectedImage, type ImageProblem, imageProblem } from './identity.ts';
import { backingOfLayer, type ReplicaLayout } from './layout.ts';
import type { ReplicaRecord, SealedLayer } from './record.ts';
import { chainOf } from './state.ts';

/** How the file of a layer should look. While a merge is under way, what it writes to may look anyhow. */
export function expectedLayer(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  layer: SealedLayer,
): ExpectedImage {
  const { disk, parentId } = layer;
  const isMergedInto = record.merges.some(({ intoId }) => intoId === layer.id);
  const parentMerge = record.merges.find(({ layerId }) => layerId === parentId);
  const names: (string | null)[] = [parentId === null ? null : backingOfLayer(parentId, disk)];
  if (parentMerge !== undefined) names.push(backingOfLayer(parentMerge.intoId, disk));
  return {
    path: layout.image(layer),
    identity: isMergedInto || parentMerge !== undefined ? undefined : layer.identity,
    backingNames: names,
  };
}

export async function layerProblem(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  layer: SealedLayer,
): Promise<ImageProblem | null> {
  if (layer.isDamaged) return { kind: 'damaged', reason: 'its content is not what was sealed' };
  return await imageProblem(expectedLayer(layout, record, layer));
}

/** Checks every layer of the chains up to these. `acceptsDrift`: that it is there is enough. Throws `replica-drifted`. */
export async function checkChains(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  tops: readonly LayerId[],
  { acceptsDrift = false }: { readonly acceptsDrift?: boolean } = {},
): Promise<void> {
  const layers = new Set(tops.flatMap((top) => chainOf(record, top)));
  await Promise.all([...layers].map((layer) => checkLayer(layout, record, layer, acceptsDrift)));
}

async function checkLayer(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  layer: SealedLayer,
  acceptsDrift: boolean,
): Promise<void> {
  const problem = await layerProblem(layout, record, layer);
  if (problem === null || (acceptsDrift && problem.kind !== 'missing')) return;
  throw new UnderstudyError('replica-drifted', {
    replica: layout.replicaId,
    finding: `layer ${layer.id}/${layer.disk}.qcow2: ${problem.reason}`,
  });
}
