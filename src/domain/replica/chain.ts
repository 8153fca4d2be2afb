/**
 * Which layers of a replica may go, and how (docs/concepts: invariant 2). Layers form a forest, one tree
 * per disk at least; what must stay readable stands on top of some of them.
 *
 *   base ← l1 ← l2 ← l3      l1 is hidden (no point names it) and l2 its only dependent:
 *          ↑         ↑       l2 may be merged into l1, unless something open stands above.
 *        hidden    point
 *
 * A step never changes what a kept point, an archive or an open image reads, and after every prefix of
 * the steps all of them still read the same.
 */
import type { LayerId } from '../ids.ts';

export type ChainLayer = { readonly id: LayerId; readonly parentId: LayerId | null };

export type ChainTree = {
  readonly layers: readonly ChainLayer[];
  /** The newest layers of the restore points. */
  readonly pointTops: readonly LayerId[];
  /** The layers that archived branches lie over: read-only and off, so they can be put over another layer. */
  readonly archiveTops: readonly LayerId[];
  /** The layers below whatever is open or may be opened any time: failover and test branches, partial layers, readings. */
  readonly openTops: readonly LayerId[];
};

export type ChainStep =
  /** Nothing depends on it. */
  | { readonly type: 'remove'; readonly layerId: LayerId }
  /** Its content goes down into its parent, which takes its place. */
  | { readonly type: 'merge'; readonly layerId: LayerId; readonly intoId: LayerId };

/** The next thing that is safe to do now, or null. Removing comes first: it costs nothing. */
export function nextChainStep(tree: ChainTree): ChainStep | null {
  const children = childCounts(tree.layers);
  const tops = new Set([...tree.pointTops, ...tree.archiveTops, ...tree.openTops]);
  for (const { id } of tree.layers) {
    if (!children.has(id) && !tops.has(id)) return { type: 'remove', layerId: id };
  }
  const open = openLayers(tree);
  for (const { id, parentId } of tree.layers) {
    if (parentId === null || open.has(id) || open.has(parentId)) continue;
    if (children.get(parentId) !== 1 || tops.has(parentId)) continue;
    return { type: 'merge', layerId: id, intoId: parentId };
  }
  return null;
}

/** The tree after the step. Everything that stood on a merged layer stands on its parent. */
export function applyChainStep(tree: ChainTree, step: ChainStep): ChainTree {
  const layers = tree.layers.filter((layer) => layer.id !== step.layerId);
  if (step.type === 'remove') return { ...tree, layers };
  const moved = (id: LayerId): LayerId => (id === step.layerId ? step.intoId : id);
  return {
    layers: layers.map(({ id, parentId }) => ({
      id,
      parentId: parentId === null ? null : moved(parentId),
    })),
    pointTops: tree.pointTops.map(moved),
    archiveTops: tree.archiveTops.map(moved),
    openTops: tree.openTops,
  };
}

/** Whether a merge that was begun may go on: nothing that has either layer open, or may open it, stands above. */
export function mayContinueMerge(
  tree: ChainTree,
  merge: { readonly layerId: LayerId; readonly intoId: LayerId },
): boolean {
  const open = openLayers(tree);
  return !open.has(merge.layerId) && !open.has(merge.intoId);
}

/** From the base to `top`, following parents. Layers that are not known end the chain. */
export function chainTo<Layer extends ChainLayer>(
  layers: readonly Layer[],
  top: LayerId,
): readonly Layer[] {
  const byId = new Map(layers.map((layer) => [layer.id, layer]));
  const chain: Layer[] = [];
  let next: LayerId | null = top;
  while (next !== null && chain.length <= layers.length) {
    const layer = byId.get(next);
    if (layer === undefined) break;
    chain.unshift(layer);
    next = layer.parentId;
  }
  return chain;
}

/** What makes the layers no forest of whole chains, for people; null when they are one. */
export function chainDefect(layers: readonly ChainLayer[]): string | null {
  const ids = new Set<LayerId>();
  for (const { id } of layers) {
    if (ids.has(id)) return `layer ${id} is listed twice`;
    ids.add(id);
  }
  for (const { id } of layers) {
    const base = chainTo(layers, id)[0];
    if (base === undefined || base.parentId === null) continue;
    return ids.has(base.parentId)
      ? `the parents of layer ${id} form a circle`
      : `layer ${base.id} has the unknown parent ${base.parentId}`;
  }
  return null;
}

function openLayers(tree: ChainTree): ReadonlySet<LayerId> {
  const open = new Set<LayerId>();
  for (const top of tree.openTops) {
    open.add(top);
    for (const { id } of chainTo(tree.layers, top)) open.add(id);
  }
  return open;
}

function childCounts(layers: readonly ChainLayer[]): ReadonlyMap<LayerId, number> {
  const counts = new Map<LayerId, number>();
  for (const { parentId } of layers) {
    if (parentId !== null) counts.set(parentId, (counts.get(parentId) ?? 0) + 1);
  }
  return counts;
}
