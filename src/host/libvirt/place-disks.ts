/** Where the definition of a VM says that its disks are. */
import { UnderstudyError } from '../../domain/error.ts';
import type { DiskKey } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { VmCommand } from '../../ports/hypervisor.ts';
import { placeAt } from './disk-source.ts';
import { diskElements } from './domain-xml.ts';
import { readPower } from './inspect.ts';
import { readWholeDefinition } from './layers-context.ts';
import type { Virsh } from './virsh.ts';
import { attribute, child, parseRoot, serialiseXml } from './xml.ts';

type Placed = { readonly key: DiskKey; readonly path: string };

/** See `Hypervisor.placeDisks`. */
export async function placeDisks(
  virsh: Virsh,
  { vmId, disks }: VmCommand & { readonly disks: readonly Placed[] },
  options: CallOptions,
): Promise<void> {
  const text = placedXml(await readWholeDefinition(virsh, vmId, options), disks);
  if (text === null) return;
  if ((await readPower(virsh, vmId, options)) !== 'off') {
    throw new UnderstudyError('vm-not-off', { vm: vmId });
  }
  await virsh.run(['define', { file: text }], options);
}

/** The same definition with these paths in it; null when they are in it already. Pure. */
export function placedXml(definition: string, disks: readonly Placed[]): string | null {
  const domain = parseRoot(definition, 'domain', 'the VM');
  let isAnyMoved = false;
  for (const disk of diskElements(domain)) {
    const key = attribute(child(disk, 'target'), 'dev');
    const path = disks.find((placed) => placed.key === key)?.path;
    if (path === undefined || attribute(child(disk, 'source'), 'file') === path) continue;
    placeAt(disk, path);
    isAnyMoved = true;
  }
  return isAnyMoved ? serialiseXml(domain) : null;
}
