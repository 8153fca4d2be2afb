import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { HostEpochs } from '../../ports/host-epochs.ts';
import type { Ids } from '../../ports/ids.ts';
import type { FailbackCommand } from '../../ports/production-disks.ts';
import { hasCode } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { describeVm, readPower } from './inspect.ts';
import { type LayersPlaces, type LayersRecord, layersPlaces, readLayers } from './layers-record.ts';
import type { LayersServer } from './layers-server.ts';
import type { redefineMark } from './marks.ts';
import type { TargetTraits } from './replica-xml.ts';
import type { SidecarTools } from './sidecars.ts';
import type { Virsh } from './virsh.ts';

/** What working layers under libvirt are made of. */
export type LayersContext = LayersServer &
  SidecarTools & {
    readonly virsh: Virsh;
    readonly ids: Ids;
    readonly hostName: string;
    /** Layers are in it. Absolute, readable by QEMU. */
    readonly storageFolder: string;
    /** What this host offers a VM that is new to it. */
    readonly traits: (options: CallOptions) => Promise<TargetTraits>;
    readonly epochs: HostEpochs;
  };

/** The record of a failback as it is on disk, with where its files are. */
export type Laid = { readonly places: LayersPlaces; readonly record: LayersRecord };

/** Admits the command; null when nothing was laid, or it is being dropped. Throws `epoch-refused`. */
export async function findLaid(
  context: LayersContext,
  command: FailbackCommand,
): Promise<Laid | null> {
  const found = await findRecord(context, command);
  return found?.record.state === 'dropped' ? null : found;
}

/** As `findLaid`, with one that is being dropped. */
export async function findRecord(
  { storageFolder, epochs }: LayersContext,
  { failbackId, replicaId, epoch }: FailbackCommand,
): Promise<Laid | null> {
  await epochs.admit({ replicaId, epoch }, UNABORTED);
  const places = layersPlaces(storageFolder, failbackId);
  const record = await readLayers(places);
  return record === null ? null : { places, record };
}

/** Throws `failback-missing`. */
export async function requireLaid(context: LayersContext, command: FailbackCommand): Promise<Laid> {
  const laid = await findLaid(context, command);
  if (laid !== null) return laid;
  const { failbackId: failback } = command;
  throw new UnderstudyError('failback-missing', { failback, host: context.hostName });
}

/** Throws `vm-not-off`. False: it is not there. */
export async function requireOff(
  { virsh }: LayersContext,
  vmId: VmId,
  options: CallOptions,
): Promise<boolean> {
  try {
    const power = await readPower(virsh, vmId, options);
    if (power === 'off') return true;
  } catch (error) {
    if (hasCode(error, 'vm-missing')) return false;
    throw error;
  }
  throw new UnderstudyError('vm-not-off', { vm: vmId });
}

export function describe(
  { virsh }: LayersContext,
  vmId: VmId,
  options: CallOptions,
): Promise<VmDescription> {
  return describeVm(virsh, vmId, options);
}

/** With the passwords that it holds, which a redefinition would lose. */
export function readWholeDefinition(
  virsh: Virsh,
  vmId: VmId,
  options: CallOptions,
): Promise<string> {
  return virsh.run(['dumpxml', '--inactive', '--security-info', '--', vmId], options);
}

export async function define(
  { virsh }: LayersContext,
  text: string,
  options: CallOptions,
): Promise<void> {
  await virsh.run(['define', { file: text }], options);
}

/** What the mark functions of a freeze need, which is less than a freeze does. */
export function markTools(context: LayersContext): Parameters<typeof redefineMark>[0] {
  const { virsh, processes, clock, hostName } = context;
  return { virsh, processes, clock, hostName } as FreezeContext;
}
