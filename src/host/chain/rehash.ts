/**
 * Finds out by reading whether a layer that looks changed still holds what was sealed: its own content against its own
 * hash table. Where the record was lost, that is how a layer is believed again.
 */
import { join } from 'node:path';
import type { LayerId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { mergeTables } from '../hash-table/layered.ts';
import { type StoreContext, sessionName } from './context.ts';
import { expectedLayer } from './drift.ts';
import { makeFolder } from './durable-file.ts';
import { identityOf, imageProblem } from './identity.ts';
import { hidesContent } from './image-content.ts';
import type { ReplicaLayout } from './layout.ts';
import { type ReplicaRecord, requireRecord, type SealedLayer, writeRecord } from './record.ts';
import { chainOf, loadState } from './state.ts';

/** Equal: its new identity is right. Else it is damaged, unless it turns out to be a merge that nobody remembers. */
export async function rehash(
  context: StoreContext,
  layout: ReplicaLayout,
  layerId: LayerId | null,
  options: CallOptions,
): Promise<void> {
  const record = await requireRecord(layout);
  const layer = record.layers.find(({ id }) => id === layerId);
  if (layer === undefined || context.verifier === null) return;
  const before = await identityOf(layout.image(layer));
  const below = layer.parentId === null ? [] : chainOf(record, layer.parentId);
  const tables = [...below, layer].map((each) => layout.table(each));
  const isEqual =
    !(await hidesContent({ path: layout.image(layer), tables })) &&
    (await readsAs(context, layout, { layer, table: layout.table(layer) }, options));
  const merged = isEqual ? null : await mergedChild(context, layout, layer, options);
  const expected = { ...expectedLayer(layout, record, layer), identity: before };
  // Changed again while it was read: the next inspection reports it anew.
  if ((await imageProblem(expected)) !== null) return;
  options.signal.throwIfAborted();
  await writeRecord(
    layout,
    merged === null
      ? withLayer(record, { ...layer, identity: before, isDamaged: !isEqual })
      : { ...record, merges: [...record.merges, { layerId: merged, intoId: layer.id }] },
  );
}

function withLayer(record: ReplicaRecord, layer: SealedLayer): ReplicaRecord {
  const layers = record.layers.map((each) => (each.id === layer.id ? layer : each));
  return { ...record, layers };
}

/**
 * A child whose whole content is in the layer already, which nothing names: the record was lost while other children were
 * being put over it. Finishing that merge changes nothing that anybody reads.
 */
async function mergedChild(
  context: StoreContext,
  layout: ReplicaLayout,
  layer: SealedLayer,
  options: CallOptions,
): Promise<LayerId | null> {
  const { record, points, branches } = await loadState(layout);
  const named = [
    ...points.flatMap(({ point }) => point.disks),
    ...branches.flatMap(({ disks }) => disks),
  ];
  if (named.some(({ layerId }) => layerId === layer.id)) return null;
  await makeFolder(layout.readings, 0o700);
  for (const child of record.layers) {
    if (child.parentId !== layer.id) continue;
    const table = join(layout.readings, `${child.id}.hash`);
    await mergeTables({
      older: layout.table(layer),
      newer: layout.table(child),
      isBase: layer.parentId === null,
      path: table,
    });
    const grown = { ...layer, sizeBytes: Math.max(layer.sizeBytes, child.sizeBytes) };
    if (await readsAs(context, layout, { layer: grown, table }, options)) return child.id;
  }
  return null;
}

/** Whether what the layer alone holds is what the table says. */
async function readsAs(
  { server, verifier }: StoreContext,
  layout: ReplicaLayout,
  { layer, table }: { readonly layer: SealedLayer; readonly table: string },
  options: CallOptions,
): Promise<boolean> {
  if (verifier === null) return false;
  const name = `${sessionName.ofRepair(layout.replicaId)}${layer.id}`;
  const path = layout.image(layer);
  const image = { exportName: layer.disk, path, isWritable: false, isAlone: true };
  const session = { name, images: [image], scratchFolder: null };
  const [endpoint] = await server.serve(session, options);
  if (endpoint === undefined) return false;
  try {
    const request = { endpoint, sizeBytes: layer.sizeBytes, hashesPath: table };
    return (await verifier.verify(request, options)).wrongBlockCount === 0;
  } finally {
    await server.stop(name, { signal: new AbortController().signal });
  }
}
