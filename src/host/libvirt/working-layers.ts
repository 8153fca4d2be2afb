/**
 * Working layers over the disks of VMs under libvirt, see ports/production-disks.ts.
 *
 *   lay      qcow2 overlays beside nothing of production's, the VM parked, one storage daemon      layers-lay.ts
 *   attach   marks, sidecars, definition on the layers                                             layers-attach.ts
 *   park     definition on nothing                                                                 layers-park.ts
 *   commit   block commit with pivot, or qemu-img                                                  layers-commit.ts
 *   drop     definition as it was, layers gone                                                     layers-drop.ts
 *   found    what the records tell                                                                 layers-found.ts
 *
 * A record written first (layers-record.ts) makes each call repeatable and each leftover findable, whatever died when.
 */
import type { FailbackId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FailbackCommand, ProductionDisks } from '../../ports/production-disks.ts';
import { createGatePerKey } from './gate.ts';
import { attach } from './layers-attach.ts';
import { commit } from './layers-commit.ts';
import { type LayersContext, requireLaid } from './layers-context.ts';
import { drop } from './layers-drop.ts';
import { foundLayers } from './layers-found.ts';
import { lay } from './layers-lay.ts';
import { park } from './layers-park.ts';
import { endServer } from './layers-server.ts';

export type ProductionDisksParts = Omit<LayersContext, 'crashPoint'> & {
  /** For tests: called by name at every line where dying must do no harm. */
  readonly onCrashPoint?: (name: string) => void;
};

export function createLibvirtProductionDisks(parts: ProductionDisksParts): ProductionDisks {
  const crashPoint = parts.onCrashPoint ?? (() => undefined);
  const context: LayersContext = { ...parts, crashPoint };
  // A repeated command may arrive while the first still works: per failback they take turns.
  const gate = createGatePerKey<FailbackId>();
  const inTurn = <Result>(
    { failbackId }: FailbackCommand,
    options: CallOptions,
    task: () => Promise<Result>,
  ): Promise<Result> => gate.enter(failbackId, task, options);
  return {
    lay: (request, options) => inTurn(request, options, () => lay(context, request, options)),
    settle: (command, options) =>
      inTurn(command, options, async () => {
        await endServer(context, await requireLaid(context, command), options);
      }),
    attach: (request, options) => inTurn(request, options, () => attach(context, request, options)),
    park: (command, options) =>
      inTurn(command, options, async () => {
        await park(context, await requireLaid(context, command), options);
      }),
    commit: (command, options) => inTurn(command, options, () => commit(context, command, options)),
    drop: (command, options) => inTurn(command, options, () => drop(context, command, options)),
    found: (replicaId) => foundLayers(context.storageFolder, replicaId),
  };
}
