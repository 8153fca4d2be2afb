/**
 * Hashes of simulated blocks, and roots by the book (docs/formats/hash-table.md), so that a root from here can be
 * compared with one from a real store. A number from 1 to 255 is a block filled with that byte; every other token is
 * hashed by its text, which is equal exactly when the block is.
 */
import { createHash } from 'node:crypto';
import { BLOCK_BYTES, blockCount } from '../domain/bytes.ts';
import type { Token } from './image.ts';

const HASH_BYTES = 32;
const FAN_OUT = 256;
const LEVELS = 3;
const ZERO = Buffer.alloc(HASH_BYTES);

const fillHashes = new Map<number, Buffer>();

export function hashOfToken(token: Token): Buffer {
  if (token === 0) return ZERO;
  if (typeof token === 'string' || token < 1 || token > 255) {
    return sha256([Buffer.from(`token ${JSON.stringify(token)}`)]);
  }
  const known = fillHashes.get(token);
  if (known !== undefined) return known;
  const made = sha256([Buffer.alloc(BLOCK_BYTES, token)]);
  fillHashes.set(token, made);
  return made;
}

/** Hex. The content has no entries for zero blocks. */
export function diskRoot(sizeBytes: number, content: ReadonlyMap<number, Token>): string {
  let nodes = new Map([...content].map(([index, token]) => [index, hashOfToken(token)]));
  for (let level = 1; level <= LEVELS; level += 1) nodes = nodesAbove(nodes);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(sizeBytes));
  const count = Math.ceil(blockCount(sizeBytes) / FAN_OUT ** LEVELS);
  const tops = Array.from({ length: count }, (_, index) => nodes.get(index) ?? ZERO);
  return sha256([Buffer.from('understudy-disk-1'), size, ...tops]).toString('hex');
}

/** A node whose children are all zero is zero, so that it need not be there. */
function nodesAbove(children: ReadonlyMap<number, Buffer>): Map<number, Buffer> {
  const inputs = new Map<number, Buffer>();
  for (const [index, hash] of children) {
    const above = Math.floor(index / FAN_OUT);
    const input = inputs.get(above) ?? Buffer.alloc(FAN_OUT * HASH_BYTES);
    hash.copy(input, (index % FAN_OUT) * HASH_BYTES);
    inputs.set(above, input);
  }
  return new Map([...inputs].map(([index, input]) => [index, sha256([input])]));
}

/** Hex. */
export function pointRoot(
  disks: readonly { readonly key: string; readonly rootHash: string }[],
): string {
  const ordered = [...disks].sort((a, b) => (a.key < b.key ? -1 : 1));
  const parts = ordered.flatMap(({ key, rootHash }) => [
    Buffer.from(key),
    Buffer.of(0),
    Buffer.from(rootHash, 'hex'),
  ]);
  return sha256(parts).toString('hex');
}

function sha256(parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
