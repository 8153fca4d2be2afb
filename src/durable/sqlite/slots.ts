/** Which of the waiting operations may begin: a pure decision. */
import type { OperationId } from '../../domain/ids.ts';
import type { Claims } from '../../ports/durable.ts';

export type SlotUser = {
  readonly id: OperationId;
  /** Order of acceptance. */
  readonly accepted: number;
  readonly slots: Claims['slots'];
};

/**
 * In order of acceptance. One that must wait reserves its slots against all later ones, so that
 * a stream of small operations never starves one that needs several slots at once.
 */
export function startable(
  waiting: readonly SlotUser[],
  running: readonly SlotUser[],
  runningMax: number,
): readonly OperationId[] {
  const taken = new Map<string, number>();
  for (const user of running) take(taken, user);
  const chosen: OperationId[] = [];
  for (const user of [...waiting].sort((a, b) => a.accepted - b.accepted)) {
    if (running.length + chosen.length >= runningMax) break;
    const fits = user.slots.every(
      ({ name, limit }) => (taken.get(name) ?? 0) + countOf(user, name) <= limit,
    );
    if (fits) chosen.push(user.id);
    take(taken, user);
  }
  return chosen;
}

/** An operation that names a slot several times takes so many of them at once. */
function countOf({ slots }: SlotUser, name: string): number {
  return slots.filter((slot) => slot.name === name).length;
}

function take(taken: Map<string, number>, user: SlotUser): void {
  for (const { name } of user.slots) taken.set(name, (taken.get(name) ?? 0) + 1);
}
