/** Reading VMs from the daemon: summaries, descriptions, power. */
import { type DiskKey, type VmId, vmId } from '../../domain/ids.ts';
import type { PowerState, VmDescription, VmDisk, VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import { type DefinedDisk, powerStateOf, readDomain } from './domain-xml.ts';
import { hasCode } from './errors.ts';
import type { Virsh } from './virsh.ts';
import { askTogether } from './virsh-together.ts';

/** Asked often and answered from the daemon's memory: one that needs longer is hung. */
const POWER_TIMEOUT_MS = 10_000;

export async function readPower(
  virsh: Virsh,
  id: VmId,
  { signal }: CallOptions,
): Promise<PowerState> {
  const words = await virsh.run(['domstate', '--', id], { signal, timeoutMs: POWER_TIMEOUT_MS });
  return powerStateOf(words);
}

/**
 * Four lists instead of the table for people, whose columns cannot be told from a name with blanks in it; by one `virsh`,
 * because a controller at rest does little else.
 */
export async function listVms(virsh: Virsh, options: CallOptions): Promise<VmSummary[]> {
  const told = await askTogether(virsh, LISTS, options);
  // Nothing told: an empty list, or one that failed. All VMs is never empty where there is something to misjudge.
  const isTold = told[0] !== null;
  const [all = '', running = '', paused = '', off = ''] = isTold
    ? told.map((list) => list ?? '')
    : await Promise.all(LISTS.map((list) => virsh.run(list, options)));
  const powers = new Map<string, PowerState>();
  for (const id of lines(running)) powers.set(id, 'running');
  for (const id of lines(paused)) powers.set(id, 'paused');
  // One that changed between two lists is in none or in two of them; `off` needs that no other list has it.
  for (const id of lines(off)) powers.set(id, powers.has(id) ? 'unknown' : 'off');
  return lines(all).map((line) => ({
    id: vmId(line.slice(0, 36)),
    name: line.slice(37),
    power: powers.get(line.slice(0, 36)) ?? 'unknown',
  }));
}

const LISTS = [
  ['list', '--uuid', '--all', '--name'],
  ['list', '--uuid', '--state-running'],
  ['list', '--uuid', '--all', '--state-paused'],
  ['list', '--uuid', '--all', '--state-shutoff'],
] as const;

/** What `virsh dominfo` tells. */
export type VmFlags = {
  readonly power: PowerState;
  readonly hasSavedState: boolean;
  readonly startsWithHost: boolean;
};

export async function readFlags(virsh: Virsh, id: VmId, options: CallOptions): Promise<VmFlags> {
  return parseFlags(await virsh.run(flagsQuery(id), options));
}

const flagsQuery = (id: VmId) => ['dominfo', '--', id] as const;

function parseFlags(text: string): VmFlags {
  // A name cannot hold a line feed, so it cannot forge a line; the first match is on a line of its own.
  const value = (name: string) =>
    new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  return {
    power: powerStateOf(value('State')),
    hasSavedState: value('Managed save') === 'yes',
    startsWithHost: value('Autostart') === 'enable',
  };
}

/** The definition that the next start will use. */
export function readDefinition(virsh: Virsh, id: VmId, options: CallOptions): Promise<string> {
  return virsh.run(definitionQuery(id), options);
}

const definitionQuery = (id: VmId) => ['dumpxml', '--inactive', '--', id] as const;

/** Both by one question, which is on the way of a failover. */
export async function readDefinitionAndFlags(
  virsh: Virsh,
  id: VmId,
  options: CallOptions,
): Promise<{ readonly definition: string; readonly flags: VmFlags }> {
  const [text, facts] = await askTogether(virsh, [definitionQuery(id), flagsQuery(id)], options);
  const [definition, flags] = await Promise.all([
    text ?? readDefinition(virsh, id, options),
    facts ? parseFlags(facts) : readFlags(virsh, id, options),
  ]);
  return { definition, flags };
}

export async function describeVm(
  virsh: Virsh,
  id: VmId,
  options: CallOptions,
): Promise<VmDescription> {
  const queries = [definitionQuery(id), currentQuery(id), flagsQuery(id), sizesQuery(id)];
  const told = await askTogether(virsh, queries, options);
  // What was not told is asked alone: that tells why.
  const [definition, current, flags] = await Promise.all([
    told[0] ?? readDefinition(virsh, id, options),
    told[1] ?? virsh.run(currentQuery(id), options),
    told[2] ? parseFlags(told[2]) : readFlags(virsh, id, options),
  ]);
  const vm = readDomain(current, id);
  const kept = new Set(readDomain(definition, id).disks.map((disk) => disk.key));
  const sizes = await diskSizes(virsh, { id, disks: vm.disks, together: told[3] ?? null }, options);
  return {
    ...vm,
    power: flags.power,
    disks: vm.disks.map((disk) => describeDisk(disk, { sizes, kept })),
    configuration: { format: 'libvirt-domain-xml', text: definition },
    hasSavedState: flags.hasSavedState,
  };
}

type DiskFacts = {
  readonly sizes: ReadonlyMap<DiskKey, number>;
  /** The disks of the persistent definition. */
  readonly kept: ReadonlySet<DiskKey>;
};

function describeDisk(disk: DefinedDisk, { sizes, kept }: DiskFacts): VmDisk {
  const size = sizes.get(disk.key);
  const reason =
    disk.unsupportedBecause ??
    (size === undefined ? 'its file cannot be read by the hypervisor' : null) ??
    (kept.has(disk.key) ? null : 'it is attached for this run only and not part of the definition');
  return {
    key: disk.key,
    path: disk.path,
    format: disk.format,
    sizeBytes: size ?? 0,
    tracksChanges: disk.format === 'qcow2' && !disk.isReadOnly && !disk.isBlockDevice,
    unsupportedBecause: reason,
  };
}

const currentQuery = (id: VmId) => ['dumpxml', '--', id] as const;
const sizesQuery = (id: VmId) => ['domblkinfo', '--all', '--', id] as const;

type SizedDisks = {
  readonly id: VmId;
  readonly disks: readonly DefinedDisk[];
  /** What was told of all disks already; null: nothing. */
  readonly together: string | null;
};

/** One answer for all disks; where one of them makes it fail (a missing file does), one call each. */
async function diskSizes(
  virsh: Virsh,
  { id, disks, together }: SizedDisks,
  options: CallOptions,
): Promise<ReadonlyMap<DiskKey, number>> {
  const sizes = new Map<DiskKey, number>();
  if (disks.length === 0) return sizes;
  const table = together ?? (await unlessRefused(virsh.run(sizesQuery(id), options)));
  for (const line of lines(table ?? '')) {
    const [target, capacity] = line.trim().split(/\s+/);
    const disk = disks.find(({ key }) => key === target);
    if (disk !== undefined && /^\d+$/.test(capacity ?? '')) sizes.set(disk.key, Number(capacity));
  }
  const rest = disks.filter(({ key }) => !sizes.has(key));
  await Promise.all(
    rest.map(async ({ key }) => {
      const text = await unlessRefused(virsh.run(['domblkinfo', '--', id, key], options));
      const capacity = /^Capacity:\s+(\d+)/m.exec(text ?? '')?.[1];
      if (capacity !== undefined) sizes.set(key, Number(capacity));
    }),
  );
  return sizes;
}

/** Null when the hypervisor refused; every other error means that nothing is known and goes on. */
export async function unlessRefused<Result>(call: Promise<Result>): Promise<Result | null> {
  try {
    return await call;
  } catch (error) {
    if (hasCode(error, 'hypervisor-refused')) return null;
    throw error;
  }
}

export function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}
