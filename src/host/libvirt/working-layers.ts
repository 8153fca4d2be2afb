/**
 * Working layers over the disks of VMs under libvirt, see ports/production-disks.ts.
 *
 *   lay      qcow2 overlays beside nothing of production's, the VM parked, one storage daemon      layers-lay.ts
 *   attach   marks, definition on the layers; park undoes it                                       layers-attach.ts
 *   commit   block commit with pivot, or qemu-img                                                  layers-commit.ts
 *
 * A record written first (layers-record.ts) makes each call repeatable and each leftover findable, whatever died when.
 */
import type { FailbackId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FailbackCommand, ProductionDisks } from '../../ports/production-disks.ts';
import { createGate, type Gate } from './gate.ts';
import { attach, park } from './layers-attach.ts';
import { commit } from './layers-commit.ts';
import { define, findLaid, type LayersContext, requireLaid } from './layers-context.ts';
import { lay } from './layers-lay.ts';
import { removeLayers } from './layers-record.ts';
import { endServer } from './layers-server.ts';

export type ProductionDisksParts = Omit<LayersContext, 'crashPoint'> & {
  /** For tests: called by name at every line where dying must do no harm. */
  readonly onCrashPoint?: (name: string) => void;
};

export function createLibvirtProductionDisks(parts: ProductionDisksParts): ProductionDisks {
  const context: LayersContext = { ...parts, crashPoint: parts.onCrashPoint ?? (() => undefined) };
  // A repeated command may arrive while the first still works: per failback they take turns.
  const gates = new Map<FailbackId, Gate>();
  const inTurn = <Result>(
    { failbackId }: FailbackCommand,
    options: CallOptions,
    task: () => Promise<Result>,
  ): Promise<Result> => {
    const gate = gates.get(failbackId) ?? createGate(1);
    gates.set(failbackId, gate);
    return gate.enter(task, options);
  };
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
  };
}

async function drop(
  context: LayersContext,
  command: FailbackCommand,
  options: CallOptions,
): Promise<void> {
  const laid = await findLaid(context, command);
  if (laid === null) return;
  const { places } = laid;
  const parked = await park(context, laid, options);
  const record = await endServer(context, { places, record: parked }, options);
  const { originalXml, vmId, startsWithHost, layers } = record;
  if (originalXml !== null && vmId !== null) {
    await define(context, originalXml, options);
    if (startsWithHost) await context.virsh.run(['autostart', '--', vmId], options);
  }
  context.crashPoint('drop: defined');
  await removeLayers(places, layers);
}
