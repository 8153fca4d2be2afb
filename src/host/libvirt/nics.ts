import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { readDomain } from './domain-xml.ts';
import { readDefinition } from './inspect.ts';
import type { Virsh } from './virsh.ts';

/** Sets the link of every NIC, by MAC: now (where it runs) and for the next start. */
export async function setNicsConnected(
  virsh: Virsh,
  { vmId, connected }: { readonly vmId: VmId; readonly connected: boolean },
  options: CallOptions,
): Promise<void> {
  const [current, definition] = await Promise.all([
    virsh.run(['dumpxml', '--', vmId], options),
    readDefinition(virsh, vmId, options),
  ]);
  const state = connected ? 'up' : 'down';
  const setLink = (mac: string, ...flags: string[]) =>
    virsh.run(['domif-setlink', ...flags, '--', vmId, mac, state], options);
  // The running VM first, for that is what others can meet. On one that is off this sets the definition.
  for (const mac of macs(current, vmId)) await setLink(mac);
  for (const mac of macs(definition, vmId)) await setLink(mac, '--config');
}

function macs(text: string, id: VmId): string[] {
  const { nics } = readDomain(text, id);
  return nics.flatMap(({ mac }) => (mac === null ? [] : [mac]));
}
