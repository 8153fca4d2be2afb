import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { BLOCK_BYTES, GIB, MIB, TIB } from '../../domain/bytes.ts';
import { FILLED_BYTES_MAX, FilledImage, type ImagePart, sizeToFill } from './filled-image.ts';
import { FIRST_FREE } from './layout.ts';

describe('a filled image', () => {
  test('gives every content a place of its own, whoever lays it', () => {
    const image = new FilledImage(GIB);
    const threads = [image, new FilledImage(GIB, image.memory)];
    const places = [0, 1, 2, 3].map(
      (each) => threads[each % 2]?.lay(each * MIB, Buffer.alloc(MIB))[0]?.offset ?? -1,
    );
    assert.deepEqual(
      places.map((offset) => offset - (places[0] ?? 0)),
      [0, 1, 2, 3].map((each) => each * MIB),
    );
  });

  test('tells tables that meet in the middle of content apart', () => {
    const image = new FilledImage(GIB);
    const [, lower, upper] = image.lay(GIB / 2 - BLOCK_BYTES, Buffer.alloc(3 * BLOCK_BYTES));
    assert.equal(lower?.bytes.length, 8);
    assert.equal(upper?.bytes.length, 16);
    assert.equal((upper?.offset ?? 0) - (lower?.offset ?? 0), 8);
  });

  test('counts more clusters than one block of counts can, and those blocks too', () => {
    const image = new FilledImage(64 * GIB);
    const clusters = 3 * 32_768;
    Atomics.store(new Int32Array(image.memory), 0, clusters);
    const parts = [];
    for (const { offset, bytes } of image.lastParts()) {
      parts.push({ offset, bytes: Buffer.from(bytes) });
    }
    const [, table, ...blocks] = parts;
    assert.equal(blocks.length, 4);
    blocks.forEach(({ offset }, index) => {
      assert.equal(Number(table?.bytes.readBigUInt64BE(index * 8)), offset);
    });
    const counted = blocks
      .flatMap(({ bytes }) => [
        ...new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2),
      ])
      .filter((count) => count !== 0).length;
    // Header, refcount table, first block, L1 table; no table is used; content; three more blocks.
    assert.equal(counted, FIRST_FREE + 1 + clusters + 3);
  });

  test('takes the largest disk that one refcount table can count, and no larger one', () => {
    const image = new FilledImage(FILLED_BYTES_MAX);
    const clusters = FILLED_BYTES_MAX / BLOCK_BYTES;
    Atomics.store(new Int32Array(image.memory), 0, clusters);
    const parts = image.lastParts();
    parts.next();
    assert.ok((parts.next().value as ImagePart).bytes.length <= BLOCK_BYTES);
    assert.throws(() => new FilledImage(16 * TIB), RangeError);
  });

  test('knows an image that it cannot fill by its header', () => {
    assert.equal(sizeToFill(Buffer.alloc(0)), null);
    assert.equal(sizeToFill(Buffer.alloc(BLOCK_BYTES)), null);
    assert.equal(sizeToFill(randomBytes(BLOCK_BYTES)), null);
  });
});
