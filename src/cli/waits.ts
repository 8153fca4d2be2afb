import type { WaitsAnswer } from '../contract/operation.ts';

/** To follow `waits for`; empty for one that has not to wait. */
export function waitsOf({ waitsFor = [] }: Partial<WaitsAnswer>): string {
  return waitsFor.map(({ message }) => message).join('; ');
}
