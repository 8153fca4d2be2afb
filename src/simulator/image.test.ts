import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { commitInto, createImage, type Image, isDamaged, writeBlock } from './image.ts';

const room = { path: '/pool', capacityBytes: 100 * BLOCK_BYTES, usedBytes: 0 };

function image(path: string, backing: Image | null = null): Image {
  return createImage({ path, format: 'qcow2', sizeBytes: 8 * BLOCK_BYTES, backing, room });
}

test('damage is read through whatever lies over it, until something is written there', () => {
  const base = image('base');
  const middle = image('middle', base);
  const top = image('top', middle);
  writeBlock(base, 1, 'damage');
  base.damaged.add(1);
  assert.ok(isDamaged(top, 1));
  assert.ok(!isDamaged(top, 2));
  writeBlock(middle, 1, 'own');
  assert.ok(!isDamaged(top, 1));
  assert.ok(isDamaged(base, 1));
  writeBlock(base, 1, 'own');
  assert.ok(!isDamaged(base, 1));
});

test('a merge carries damage down, and covers what was there', () => {
  const base = image('base');
  const top = image('top', base);
  for (const [layer, block] of [
    [base, 1],
    [top, 2],
  ] as const) {
    writeBlock(layer, block, 'damage');
    layer.damaged.add(block);
  }
  writeBlock(top, 1, 'own');
  commitInto(base, top);
  assert.ok(!isDamaged(base, 1));
  assert.ok(isDamaged(base, 2));
});
