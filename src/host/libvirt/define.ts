/**
 * Defining and removing replica VMs. A VM is touched only when it carries our mark with the same replica's id, is
 * off, and was not defined under a higher epoch. Everything may be repeated.
 *
 * This is on the way of a failover: one look by one `virsh`, then `define`; 50 ms in all.
 */
import { UnderstudyError } from '../../domain/error.ts';
import { type VmId, vmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import type { Ids } from '../../ports/ids.ts';
import { hasCode, wasRefusedBecause } from './errors.ts';
import { lines, readDefinitionAndFlags, type VmFlags } from './inspect.ts';
import { type ReplicaMark, readReplicaMark } from './replica-mark.ts';
import { replicaXml, type TargetTraits } from './replica-xml.ts';
import { placeTpm, type SidecarTools } from './sidecars.ts';
import type { Virsh } from './virsh.ts';
import { child, parseRoot } from './xml.ts';

export type DefineTools = SidecarTools & {
  readonly virsh: Virsh;
  readonly ids: Ids;
};

type DefinedReplica = {
  readonly id: VmId;
  readonly name: string;
  readonly mark: ReplicaMark | null;
  readonly flags: VmFlags;
};

export async function defineReplicaVm(
  tools: DefineTools,
  { request, target }: { readonly request: DefineReplicaRequest; readonly target: TargetTraits },
  options: CallOptions,
): Promise<VmId> {
  const { virsh } = tools;
  const present = await findReplica(virsh, request, options);
  const id = present?.id ?? (await freeIdentity(tools, request, options));
  const text = replicaXml({ request, vmId: id, target });
  if (present !== null) {
    refuseUnlessOurs(present, request);
    await prepare(virsh, present, { name: request.name, options });
  }
  await placeTpm(tools, { sidecars: request.sidecars, vmId: id, text }, options);
  try {
    await virsh.run(['define', { file: text }], options);
  } catch (error) {
    throw wasRefusedBecause(error, /already (?:exists|defined) with uuid/i)
      ? nameTaken(request.name, error)
      : error;
  }
  return id;
}

/** Throws `vm-not-off`; `name-taken` for a VM that is no replica of ours, which then stays. */
export async function undefineReplicaVm(
  virsh: Virsh,
  id: VmId,
  options: CallOptions,
): Promise<void> {
  const present = await load(virsh, id, options);
  if (present === null) return;
  if (present.mark === null) throw nameTaken(present.name);
  if (present.flags.power !== 'off') throw new UnderstudyError('vm-not-off', { vm: present.name });
  const remains = ['--managed-save', '--nvram', '--snapshots-metadata', '--checkpoints-metadata'];
  try {
    await virsh.run(['undefine', ...remains, '--', id], options);
  } catch (error) {
    if (!hasCode(error, 'vm-missing')) throw error;
  }
}

/** By the identity it has, else by the source's, else by name: a first definition that was repeated has another UUID. */
async function findReplica(
  virsh: Virsh,
  request: DefineReplicaRequest,
  options: CallOptions,
): Promise<DefinedReplica | null> {
  if (request.vmId !== null) return load(virsh, request.vmId, options);
  const [sameIdentity, namesakeId] = await Promise.all([
    load(virsh, request.source.id, options),
    findByName(virsh, request.name, options),
  ]);
  if (sameIdentity?.mark?.replicaId === request.replicaId) return sameIdentity;
  if (namesakeId === null) return null;
  return load(virsh, namesakeId, options);
}

/** The source's UUID where this host has none with it: licences and cloud-init depend on it. */
async function freeIdentity(
  { virsh, ids }: DefineTools,
  { vmId: wanted, source }: DefineReplicaRequest,
  options: CallOptions,
): Promise<VmId> {
  if (wanted !== null) return wanted;
  const taken = await load(virsh, source.id, options);
  return taken === null ? source.id : vmId(ids.uuid());
}

async function load(virsh: Virsh, id: VmId, options: CallOptions): Promise<DefinedReplica | null> {
  try {
    const { definition: text, flags } = await readDefinitionAndFlags(virsh, id, options);
    const name = child(parseRoot(text, 'domain', id), 'name')?.textContent ?? '';
    return { id, name, mark: readReplicaMark(text, id), flags };
  } catch (error) {
    if (hasCode(error, 'vm-missing')) return null;
    throw error;
  }
}

/** Not `virsh domuuid`: it would take a name such as `7` for a running VM's number. */
async function findByName(virsh: Virsh, name: string, options: CallOptions): Promise<VmId | null> {
  const list = await virsh.run(['list', '--all', '--uuid', '--name'], options);
  const line = lines(list).find((candidate) => candidate.slice(37) === name);
  return line === undefined ? null : vmId(line.slice(0, 36));
}

function refuseUnlessOurs(
  { name, mark, flags }: DefinedReplica,
  { replicaId, epoch }: DefineReplicaRequest,
): void {
  if (mark?.replicaId !== replicaId) throw nameTaken(name);
  if (mark.epoch > epoch) {
    throw new UnderstudyError('epoch-refused', { replica: replicaId, current: mark.epoch, epoch });
  }
  if (flags.power !== 'off') throw new UnderstudyError('vm-not-off', { vm: name });
}

/** A saved memory image would resume old memory on old disks, past the new definition. */
async function prepare(
  virsh: Virsh,
  { id, name: nameBefore, flags }: DefinedReplica,
  { name, options }: { name: string; options: CallOptions },
): Promise<void> {
  if (flags.hasSavedState) await virsh.run(['managedsave-remove', '--', id], options);
  if (flags.startsWithHost) await virsh.run(['autostart', '--disable', '--', id], options);
  if (nameBefore !== name) await virsh.run(['domrename', '--', id, name], options);
}

function nameTaken(name: string, cause?: unknown): UnderstudyError {
  return new UnderstudyError('name-taken', { what: 'VM', name }, cause);
}
