import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { readDomain } from './domain-xml.ts';
import { readDefinition } from './inspect.ts';
import type { Virsh } from './virsh.ts';

type LinkWish = {
  readonly vmId: VmId;
  readonly connected: boolean;
  /** Null: all. */
  readonly macs: readonly string[] | null;
};

/** Sets links by MAC: now (where it runs) and for the next start. */
export async function setNicsConnected(
  virsh: Virsh,
  { vmId, connected, macs: wanted }: LinkWish,
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
  const among = (text: string) =>
    macs(text, vmId).filter((mac) => wanted === null || wanted.includes(mac));
  for (const mac of among(current)) await setLink(mac);
  for (const mac of among(definition)) await setLink(mac, '--config');
}

function macs(text: string, id: VmId): string[] {
  const { nics } = readDomain(text, id);
  return nics.flatMap(({ mac }) => (mac === null ? [] : [mac]));
}
