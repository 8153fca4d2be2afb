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
 * In order of acceptance. Of each slot, the first one that must wait keeps what it needs from all later ones, so that a
 * stream of small operations never starves one that needs several slots at once: whoever was accepted first of all is the
 * first everywhere. Those behind it keep nothing yet. If they did, one host with a queue would bring all hosts to a
 * standstill that are tied to it by pairs: many VMs replicated around a ring would run one by one.
 */
export function startable(
  waiting: readonly SlotUser[],
  running: readonly SlotUser[],
  runningMax: number,
): readonly OperationId[] {
  const taken = new Map<string, number>();
  for (const user of running) take(taken, user.slots);
  const waitedFor = new Set<string>();
  const chosen: OperationId[] = [];
  for (const user of [...waiting].sort((a, b) => a.accepted - b.accepted)) {
    if (running.length + chosen.length >= runningMax) break;
    const fits = user.slots.every(
      ({ name, limit }) => (taken.get(name) ?? 0) + countOf(user, name) <= limit,
    );
    if (fits) {
      chosen.push(user.id);
      take(taken, user.slots);
      continue;
    }
    take(
      taken,
      user.slots.filter(({ name }) => !waitedFor.has(name)),
    );
    for (const { name } of user.slots) waitedFor.add(name);
  }
  return chosen;
}

/** An operation that names a slot several times takes so many of them at once. */
function countOf({ slots }: SlotUser, name: string): number {
  return slots.filter((slot) => slot.name === name).length;
}

function take(taken: Map<string, number>, slots: SlotUser['slots']): void {
  for (const { name } of slots) taken.set(name, (taken.get(name) ?? 0) + 1);
}
