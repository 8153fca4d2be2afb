/**
 * Numbers and frames of the NBD protocol, pure: no socket, no promise. Facts are from
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md. Everything is big-endian.
 *
 *   request   magic 4 | flags 2 | type 2 | cookie 8 | offset 8 | length 4
 *   simple    magic 4 | error 4 | cookie 8 | payload of a READ
 *   chunk     magic 4 | flags 2 | type 2 | cookie 8 | length 4 | payload
 */
const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;

const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  writeZeroes: 6,
  blockStatus: 7,
} as const;
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;
export const CHUNK_FLAG_DONE = 1;
export const CHUNK_ERROR_BIT = 0x8000;

/** What an export can do, from its transmission flags. */
export const TRANSMISSION = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  flush: 1 << 2,
  writeZeroes: 1 << 6,
  multipleConnections: 1 << 8,
} as const;

/** `base:allocation`: bit 0 says not allocated, bit 1 says reads as zeros. Only the second is about content. */
export const ALLOCATION_CONTEXT = 'base:allocation';
export const ALLOCATION_ZERO = 2;

/** Its number is how deep below the top image of a chain a range is held: 0 nowhere, 1 in the top itself. */
export const ALLOCATION_DEPTH_CONTEXT = 'qemu:allocation-depth';
export const ALLOCATION_DEPTH_TOP = 1;

/** Errors on the wire are always these numbers, whatever the platform. */
export const WIRE_ERROR: Readonly<Record<number, string>> = {
  1: 'operation not permitted',
  5: 'input/output error',
  12: 'out of memory',
  22: 'invalid argument',
  28: 'no space left',
  75: 'value too large',
  95: 'not supported',
  108: 'the server is shutting down',
};
export const WIRE_NO_SPACE = 28;
export const WIRE_SHUTDOWN = 108;

export type Request = {
  readonly command: Command;
  readonly cookie: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
};

const TWO_POW_32 = 2 ** 32;

/** Cookies are ours to choose: the low 32 bits suffice, and the upper must come back as zero. */
export function encodeRequest(request: Request): Buffer {
  const frame = Buffer.allocUnsafe(REQUEST_BYTES);
  frame.writeUInt32BE(REQUEST_MAGIC, 0);
  frame.writeUInt16BE(0, 4);
  frame.writeUInt16BE(request.command, 6);
  frame.writeUInt32BE(0, 8);
  frame.writeUInt32BE(request.cookie, 12);
  frame.writeUInt32BE(Math.floor(request.offsetBytes / TWO_POW_32), 16);
  frame.writeUInt32BE(request.offsetBytes % TWO_POW_32, 20);
  frame.writeUInt32BE(request.lengthBytes, 24);
  return frame;
}

/** Reads eight bytes as a number; above 2^53 it is inexact, and larger than anything it is compared with. */
export function uint64At(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * TWO_POW_32 + bytes.readUInt32BE(at + 4);
}
