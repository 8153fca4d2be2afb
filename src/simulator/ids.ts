import type { Ids } from '../ports/ids.ts';
import type { Random } from './random.ts';

/** Fresh identities from a seed: six digits that count, so that they sort by age, and six that vary. */
export function createSeededIds({ random }: { readonly random: Random }): Ids {
  let count = 0;
  return {
    fresh: (prefix) => {
      count += 1;
      return `${prefix}-${count.toString(36).padStart(6, '0')}${random.hex(6)}`;
    },
    uuid: () => {
      const hex = (digits: number) => random.hex(digits);
      const variant = random.pick(['8', '9', 'a', 'b']);
      return `${hex(8)}-${hex(4)}-4${hex(3)}-${variant}${hex(3)}-${hex(12)}`;
    },
  };
}
