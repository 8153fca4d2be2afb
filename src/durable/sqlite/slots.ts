/** Which of the waiting operations may begin: a pure decision. */
import type { OperationId } from '../../domain/ids.ts';
import type { Claims, SlotWait } from '../../ports/durable.ts';

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
  const chosen: OperationId[] = [];
  lookThrough(waiting, running, runningMax, ({ id }, missing) => {
    if (missing.length === 0) chosen.push(id);
  });
  return chosen;
}

/** What each that waits lacks, by the same order; nothing for one that is about to begin. */
export function waitsOf(
  waiting: readonly SlotUser[],
  running: readonly SlotUser[],
  runningMax: number,
): ReadonlyMap<OperationId, readonly SlotWait[]> {
  const waits = new Map<OperationId, readonly SlotWait[]>();
  lookThrough(waiting, running, runningMax, ({ id }, missing, holders) => {
    const lacked = new Map(missing.map(({ name, limit }) => [name, limit]));
    const told = [...lacked].map(([name, limit]) => {
      const held = holders.get(name) ?? [];
      return { name, limit, taken: Math.min(limit, held.length), heldBy: [...new Set(held)] };
    });
    waits.set(id, told);
  });
  const isFull = { name: null, limit: runningMax, taken: runningMax, heldBy: [] };
  for (const { id } of waiting) if (!waits.has(id)) waits.set(id, [isFull]);
  return waits;
}

/** Who has each slot, as often as it has it. */
type Holders = ReadonlyMap<string, readonly OperationId[]>;

/** Visits those that wait, with the slots that each lacks, until as many run as may. */
function lookThrough(
  waiting: readonly SlotUser[],
  running: readonly SlotUser[],
  runningMax: number,
  visit: (user: SlotUser, missing: SlotUser['slots'], holders: Holders) => void,
): void {
  const holders = new Map<string, OperationId[]>();
  for (const user of running) take(holders, user, user.slots);
  const waitedFor = new Set<string>();
  let count = running.length;
  for (const user of [...waiting].sort((a, b) => a.accepted - b.accepted)) {
    if (count >= runningMax) return;
    const missing = user.slots.filter(
      ({ name, limit }) => (holders.get(name)?.length ?? 0) + countOf(user, name) > limit,
    );
    visit(user, missing, holders);
    if (missing.length === 0) {
      count += 1;
      take(holders, user, user.slots);
      continue;
    }
    const kept = user.slots.filter(({ name }) => !waitedFor.has(name));
    take(holders, user, kept);
    for (const { name } of user.slots) waitedFor.add(name);
  }
}

/** An operation that names a slot several times takes so many of them at once. */
function countOf({ slots }: SlotUser, name: string): number {
  return slots.filter((slot) => slot.name === name).length;
}

function take(
  holders: Map<string, OperationId[]>,
  { id }: SlotUser,
  slots: SlotUser['slots'],
): void {
  for (const { name } of slots) {
    const held = holders.get(name);
    if (held === undefined) holders.set(name, [id]);
    else held.push(id);
  }
}
