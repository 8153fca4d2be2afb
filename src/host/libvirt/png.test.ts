import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, inflateSync } from 'node:zlib';
import { pngOf } from './png.ts';

const pixels = Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
const pixmap = Buffer.concat([Buffer.from('P6\n3 2\n255\n'), pixels]);

test('a pixmap becomes a PNG of the same pixels, with sums that hold', () => {
  const png = pngOf(pixmap);
  assert.ok(png);
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const body = png.subarray(at + 4, at + 8 + length);
    assert.equal(png.readUInt32BE(at + 8 + length), crc32(body));
    chunks.set(body.toString('latin1', 0, 4), body.subarray(4));
    at += 12 + length;
  }
  assert.deepEqual([...chunks.keys()], ['IHDR', 'IDAT', 'IEND']);
  assert.deepEqual([...(chunks.get('IHDR') ?? [])], [0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
  const lines = inflateSync(chunks.get('IDAT') ?? Buffer.alloc(0));
  assert.deepEqual(
    lines,
    Buffer.concat([Buffer.from([0]), pixels.subarray(0, 9), Buffer.from([0]), pixels.subarray(9)]),
  );
  assert.deepEqual(pngOf(png), png, 'a PNG stays as it is');
});

test('a comment in the head is allowed; what is cut off or something else is refused', () => {
  assert.ok(pngOf(Buffer.concat([Buffer.from('P6\n# QEMU\n3 2 255\n'), pixels])));
  for (const wrong of [
    '',
    'P5\n3 2\n255\n',
    'P6\n3 2\n65535\n',
    'P6\n99999 99999\n255\n',
    'GIF89a',
  ]) {
    assert.equal(pngOf(Buffer.concat([Buffer.from(wrong), pixels])), null, wrong);
  }
  assert.equal(pngOf(pixmap.subarray(0, -1)), null);
});
