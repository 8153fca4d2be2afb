import { randomBytes, randomUUID } from 'node:crypto';
import type { Ids } from '../ports/ids.ts';

/** Crockford's base 32 in lower case: sorts like the number it stands for, and has no look-alikes. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Ids of twelve characters: eight for the milliseconds since 2020 (40 bits, until 2054), four for chance
 * (20 bits). Within one millisecond the random part counts up, so that one process never repeats itself and
 * its ids sort by age.
 */
export function systemIds(): Ids {
  let last = 0n;
  return {
    fresh(prefix) {
      const now = BigInt(Date.now()) - EPOCH;
      const drawn = (now << RANDOM_BITS) | BigInt(randomBytes(4).readUInt32BE() % 2 ** 19);
      last = drawn > last ? drawn : last + 1n;
      return `${prefix}-${base32(last, 12)}`;
    },
    uuid: () => randomUUID(),
  };
}

const EPOCH = BigInt(Date.UTC(2020, 0, 1));
const RANDOM_BITS = 20n;

function base32(value: bigint, length: number): string {
  let text = '';
  for (let rest = value; text.length < length; rest >>= 5n) {
    text = `${ALPHABET[Number(rest & 31n)]}${text}`;
  }
  return text;
}
