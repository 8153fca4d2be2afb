/** What anybody could see who looked at the machines of a world. */
import type { SimulatedHost } from '../../simulator/host.ts';
import type { SimulatedVm } from '../../simulator/vm.ts';
import type { World } from '../../simulator/world.ts';

/** What it is about → how it is; only what is worth telling when it changes. */
export function worldFacts(world: World): Map<string, string> {
  const facts = new Map<string, string>();
  for (const host of world.hosts.values()) {
    facts.set(host.id, hostFact(host));
    for (const vm of host.vms.values()) facts.set(`${vm.state.name} on ${host.id}`, vmFact(vm));
  }
  return facts;
}

function hostFact({ isUnreachable, isStorageStalled }: SimulatedHost): string {
  if (isUnreachable) return 'does not answer';
  return isStorageStalled ? 'its storage does not answer' : 'answers';
}

function vmFact(vm: SimulatedVm): string {
  if (vm.power === 'off') return vm.state.hasSavedState ? 'saved to disk' : 'off';
  return `${vm.power}, ${vm.isConnected ? 'connected' : 'disconnected'}`;
}
