/** Names for people instead of ids, by order of appearance, so that a golden log reads well and does not shift. */
import type { World } from '../../simulator/world.ts';

export type Names = {
  /** Says from now on `label` for this id. */
  give(id: string, label: string): void;
  /** The label of an id; one that has none gets the next of its kind: `P3`. */
  of(id: string): string;
  /** What is called by this label; null when nothing is yet. */
  idOf(label: string): string | null;
  /** The text with every id in it replaced. */
  in(text: string): string;
};

const KINDS: Readonly<Record<string, string>> = { op: '#', pt: 'P', br: 'B', ly: 'L', us: 'M' };
const ID = /\b[a-z]{2,4}-[0-9a-z]{6}[0-9a-f]{6}\b/g;
const UUID = /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g;

export function createNames(world: World): Names {
  const labels = new Map<string, string>();
  const counts = new Map<string, number>();

  function of(id: string): string {
    const known = labels.get(id);
    if (known !== undefined) return known;
    const prefix = id.slice(0, id.indexOf('-'));
    const kind = KINDS[prefix] ?? `${prefix} `;
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    labels.set(id, `${kind}${count}`);
    return `${kind}${count}`;
  }

  return {
    give: (id, label) => void labels.set(id, label),
    of,
    idOf: (label) => [...labels].find(([, given]) => given === label)?.[0] ?? null,
    in: (text) => text.replace(UUID, (id) => vmName(world, id)).replace(ID, of),
  };
}

function vmName(world: World, id: string): string {
  for (const host of world.hosts.values()) {
    for (const vm of host.vms.values()) if (vm.id === id) return vm.state.name;
  }
  return 'a VM that is gone';
}
