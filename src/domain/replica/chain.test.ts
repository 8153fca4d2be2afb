import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LayerId, layerId } from '../ids.ts';
import {
  applyChainStep,
  type ChainTree,
  chainDefect,
  chainTo,
  mayContinueMerge,
  nextChainStep,
} from './chain.ts';

const L = (n: number): LayerId => layerId(`l-${n}`);
const layers = (parents: readonly (number | null)[]) =>
  parents.map((parent, n) => ({ id: L(n), parentId: parent === null ? null : L(parent) }));
const tree = (parents: readonly (number | null)[], tops: Partial<ChainTree>): ChainTree => ({
  layers: layers(parents),
  pointTops: [],
  archiveTops: [],
  openTops: [],
  ...tops,
});

/** Block → content of each layer: what the images hold. */
type Images = Map<LayerId, ReadonlyMap<number, number>>;

const treeWithContent = fc
  .array(fc.tuple(fc.nat(), fc.nat(9), fc.array(fc.nat(5), { maxLength: 4 })), {
    minLength: 1,
    maxLength: 12,
  })
  .map((rows) => {
    const parents = rows.map(([seed], n) => (n === 0 || seed % 7 === 0 ? null : seed % n));
    const withRole = (role: number) =>
      rows.flatMap(([, each], n) => (each === role || (role === 1 && each === 2) ? [L(n)] : []));
    return {
      tree: tree(parents, {
        pointTops: withRole(1),
        archiveTops: withRole(3),
        openTops: withRole(4),
      }),
      images: new Map(
        rows.map(([, , blocks], n) => [L(n), new Map(blocks.map((block) => [block, n]))]),
      ) as Images,
    };
  });

test('no step changes what anything kept reads, nor a file that is open', () => {
  fc.assert(
    fc.property(treeWithContent, ({ tree: start, images }) => {
      const wanted = [...start.pointTops, ...start.archiveTops].map((top) =>
        read(start, images, top),
      );
      const openFiles = start.openTops.map((top) => filesOf(start, images, top));
      let current = start;
      for (let steps = 0; ; steps += 1) {
        assert.ok(steps <= start.layers.length, 'it ends');
        const step = nextChainStep(current);
        if (step === null) break;
        if (step.type === 'merge') {
          assert.ok(mayContinueMerge(current, step));
          const merged = new Map([
            ...(images.get(step.intoId) ?? []),
            ...(images.get(step.layerId) ?? []),
          ]);
          images.set(step.intoId, merged);
        }
        current = applyChainStep(current, step);
        assert.equal(chainDefect(current.layers), null);
        const tops = [...current.pointTops, ...current.archiveTops];
        assert.deepEqual(
          tops.map((top) => read(current, images, top)),
          wanted,
        );
        assert.deepEqual(
          current.openTops.map((top) => filesOf(current, images, top)),
          openFiles,
        );
      }
      assertNothingLeft(current);
    }),
  );
});

/** At rest every layer is needed: something stands on it directly, or several things do through their own layers, or it is open. */
function assertNothingLeft({ layers, pointTops, archiveTops, openTops }: ChainTree): void {
  const open = openTops.flatMap((top) => chainTo(layers, top).map(({ id }) => id));
  for (const { id } of layers) {
    const children = layers.filter(({ parentId }) => parentId === id);
    const isTop = [...pointTops, ...archiveTops, ...open].includes(id);
    assert.ok(isTop || children.length > 1, `${id} is needed`);
  }
}

function read(of: ChainTree, images: Images, top: LayerId): unknown {
  const merged = chainTo(of.layers, top).flatMap(({ id }) => [...(images.get(id) ?? [])]);
  return [...new Map(merged)].toSorted(([a], [b]) => a - b);
}

function filesOf(of: ChainTree, images: Images, top: LayerId): unknown {
  return chainTo(of.layers, top).map(({ id }) => [id, images.get(id)]);
}

test('the oldest point goes by a merge of its only child', () => {
  const step = nextChainStep(tree([null, 0, 1], { pointTops: [L(1), L(2)] }));
  assert.deepEqual(step, { type: 'merge', layerId: L(1), intoId: L(0) });
});

test('a hidden layer with two children stays', () => {
  assert.equal(nextChainStep(tree([null, 0, 0], { pointTops: [L(1), L(2)] })), null);
  assert.equal(nextChainStep(tree([null, 0], { pointTops: [L(1)], archiveTops: [L(0)] })), null);
});

test('nothing is merged below something open, at any distance', () => {
  const open = tree([null, 0, 1, 2], { pointTops: [L(1), L(2), L(3)], openTops: [L(3)] });
  assert.equal(nextChainStep(open), null);
  assert.equal(mayContinueMerge(open, { layerId: L(1), intoId: L(0) }), false);
  const beside = tree([null, 0, 1], { pointTops: [L(1), L(2)], openTops: [] });
  assert.equal(mayContinueMerge(beside, { layerId: L(1), intoId: L(0) }), true);
});

test('an unneeded leaf is removed, not merged', () => {
  const step = nextChainStep(tree([null, 0], { pointTops: [L(0)] }));
  assert.deepEqual(step, { type: 'remove', layerId: L(1) });
});

test('defects are named', () => {
  assert.equal(chainDefect(layers([null, 0])), null);
  assert.match(chainDefect([...layers([null]), ...layers([null])]) ?? '', /listed twice/);
  assert.match(chainDefect(layers([null, 7])) ?? '', /unknown parent l-7/);
  assert.match(chainDefect(layers([1, 0])) ?? '', /circle/);
});
