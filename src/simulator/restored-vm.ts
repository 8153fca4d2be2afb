/** A VM that a failback makes at a new place, from the definition that its replica carries. */
import type { VmId } from '../domain/ids.ts';
import type { AttachRequest } from '../ports/production-disks.ts';
import { connectedNic, readDefinition } from './define-replica.ts';
import { createGuest } from './guest.ts';
import type { SimulatedHost, Surroundings } from './host.ts';
import { SimulatedVm } from './vm.ts';
import type { LaidLayers } from './working-layers.ts';

export function newVmOver(
  {
    host,
    around,
    newVmId,
  }: {
    readonly host: SimulatedHost;
    readonly around: Surroundings;
    readonly newVmId: () => VmId;
  },
  laid: LaidLayers,
  { newVm }: AttachRequest,
): SimulatedVm {
  if (newVm === null) throw new Error(`failback ${laid.id} has no VM and is given none`);
  const { name, template, networkMap } = newVm;
  const { identity, guest } = readDefinition(template.configuration.text);
  const vm = new SimulatedVm({
    host,
    around,
    state: {
      id: host.vms.has(template.id) ? newVmId() : template.id,
      name,
      memoryBytes: template.memoryBytes,
      cpuCount: template.cpuCount,
      disks: [],
      nics: template.nics.map((nic) => connectedNic(host, networkMap, nic)),
      definition: template.configuration.text,
      hasSavedState: false,
      sidecars: new Map(),
      guest: createGuest(guest),
      replicaId: null,
      identity: identity ?? template.id,
    },
  });
  host.vms.set(vm.id, vm);
  return vm;
}
