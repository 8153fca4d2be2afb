/** How stories write amounts, and how they name what is in a world. */
import { GIB, KIB, MIB } from '../../../src/domain/bytes.ts';
import { hostId } from '../../../src/domain/ids.ts';
import type { SimulatedHost } from '../../../src/simulator/host.ts';
import type { SimulatedVm } from '../../../src/simulator/vm.ts';
import type { World } from '../../../src/simulator/world.ts';

const MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3600_000,
  d: 86_400_000,
};
const BYTES: Readonly<Record<string, number>> = { B: 1, KiB: KIB, MiB: MIB, GiB: GIB };

/** `5 min` in milliseconds. */
export function durationMs(text: string | undefined): number {
  return amount(text, MS);
}

/** `8 MiB` in bytes. */
export function byteCount(text: string | undefined): number {
  return amount(text, BYTES);
}

function amount(text: string | undefined, units: Readonly<Record<string, number>>): number {
  const match = /^(-?[\d.]+) (\w+)$/.exec(text ?? '');
  const unit = units[match?.[2] ?? ''];
  if (match === null || unit === undefined) throw new Error(`not an amount: ${text}`);
  return Number(match[1]) * unit;
}

export function hostNamed(world: World, name: string | undefined): SimulatedHost {
  return world.host(hostId(name ?? ''));
}

export type PlacedVm = { readonly vm: SimulatedVm; readonly host: SimulatedHost };

/** `web`, or `web on production` where two hosts have one of that name. */
export function vmNamed(world: World, text: string | undefined): PlacedVm {
  const [name, place] = (text ?? '').split(' on ');
  const found: PlacedVm[] = [];
  for (const host of world.hosts.values()) {
    if (place !== undefined && host.id !== place) continue;
    for (const vm of host.vms.values()) if (vm.state.name === name) found.push({ vm, host });
  }
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} VMs are ${text}`);
  return only;
}
