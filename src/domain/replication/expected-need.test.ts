import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expectedBytes } from './expected-need.ts';
import type { TransferKind } from './transfer.ts';

function points(...runs: readonly (readonly (readonly [TransferKind, number])[])[]) {
  return runs.map((disks) => ({
    disks: disks.map(([transfer, sentBytes]) => ({ transfer, sentBytes })),
  })) as unknown as Parameters<typeof expectedBytes>[0];
}
const moved = (...bytes: number[]) => bytes.map((sent) => [['incremental', sent]] as const);

test('nothing is expected before three runs have moved only what had changed', () => {
  assert.equal(expectedBytes([]), 0);
  assert.equal(expectedBytes(points([['full', 1000]], ...moved(5, 6))), 0);
  assert.equal(expectedBytes(points([['full', 1000]], ...moved(5, 6, 7))), 6);
});

test('all disks of a run count together, and one that was moved in full makes it no measure', () => {
  const two = [
    ['incremental', 3],
    ['resync', 4],
  ] as const;
  assert.equal(expectedBytes(points(two, two, two)), 7);
  const grown = [
    ['incremental', 3],
    ['full', 400],
  ] as const;
  assert.equal(expectedBytes(points(two, two, grown)), 0);
});

test('one large run among the last five bars nobody, and older ones are forgotten', () => {
  assert.equal(expectedBytes(points(...moved(10, 10, 9999, 10, 10))), 10);
  assert.equal(expectedBytes(points(...moved(9999, 9999, 9999, 1, 2, 3, 4, 5))), 3);
  assert.equal(expectedBytes(points(...moved(10, 20, 9999, 9999))), 20, 'the lower of two middles');
});

test('it is what one of the last runs moved, and at least half of them moved no less', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { minLength: 3, maxLength: 12 }), (sent) => {
      const expected = expectedBytes(points(...moved(...sent)));
      const last = sent.slice(-5);
      assert.ok(last.includes(expected));
      assert.ok(last.filter((bytes) => bytes >= expected).length * 2 >= last.length);
    }),
  );
});
