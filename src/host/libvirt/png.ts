/** A picture of a screen as PNG: QEMU before 7.1 and libvirt give portable pixmaps, which few programs show. */
import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const SIDE_MAX = 16_384;

/** Null when it is neither a PNG nor a binary pixmap with a byte per colour (ppm(5), "P6"). */
export function pngOf(picture: Buffer): Buffer | null {
  if (picture.subarray(0, SIGNATURE.length).equals(SIGNATURE)) return picture;
  const head = /^P6\s+(?:#[^\n]*\n\s*)*(\d{1,5})\s+(\d{1,5})\s+255\s/.exec(
    picture.subarray(0, 512).toString('latin1'),
  );
  if (head === null) return null;
  const [width, height] = [Number(head[1]), Number(head[2])];
  const pixels = picture.subarray(head[0].length);
  if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX) return null;
  if (pixels.length < width * height * 3) return null;
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header(width, height)),
    chunk('IDAT', deflateSync(scanLines(pixels, width, height))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** Eight bits of red, green and blue each (PNG specification, 11.2.2). */
function header(width: number, height: number): Buffer {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(width, 0);
  data.writeUInt32BE(height, 4);
  data.set([8, 2, 0, 0, 0], 8);
  return data;
}

/** Each line after a byte that says that it is not filtered. */
function scanLines(pixels: Buffer, width: number, height: number): Buffer {
  const lineBytes = width * 3;
  const lines = Buffer.alloc((lineBytes + 1) * height);
  for (let y = 0; y < height; y += 1) {
    pixels.copy(lines, y * (lineBytes + 1) + 1, y * lineBytes, (y + 1) * lineBytes);
  }
  return lines;
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
