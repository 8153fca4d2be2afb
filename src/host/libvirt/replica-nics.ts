/** Where a replica's network interfaces are plugged in: pure, shared by the definition and the preflight. */
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import { networkOf } from './domain-xml.ts';
import {
  append,
  attribute,
  child,
  children,
  ensureChild,
  remove,
  removeChildren,
  setAttributes,
  type XmlElement,
} from './xml.ts';

export type NetworkMap = Readonly<Record<string, string | null>>;

export type NicPlan = Pick<DefineReplicaRequest, 'networkMap' | 'connectNics' | 'fencedNics'>;

/** Types that name a device of the source host and mean nothing elsewhere. */
const HOST_BOUND = new Set([
  'hostdev',
  'vhostuser',
  'vdpa',
  'ethernet',
  'server',
  'client',
  'mcast',
  'udp',
]);

/** What only such a device has, or what another NIC may not have: with a script or a team, libvirt refuses it. */
const OF_HOST_BOUND = [
  ...['source', 'driver', 'virtualport', 'vlan', 'rom'],
  ...['script', 'downscript', 'teaming'],
];

/**
 * The network at the target for one at the source, as `type:name` or `user`; null: leave the NIC unplugged.
 * The map may say `network:lan`, or only `lan` where the type is the same on both sides.
 */
export function targetNetwork(map: NetworkMap, source: string): string | null {
  const [type = 'user', ...rest] = source.split(':');
  const name = rest.join(':');
  const mapped = own(map, source) ?? own(map, name);
  if (mapped === undefined) return HOST_BOUND.has(type) ? null : source;
  if (mapped.to === null) return null;
  if (/^(?:network|bridge|direct):./.test(mapped.to) || mapped.to === 'user') return mapped.to;
  return `${HOST_BOUND.has(type) || type === 'user' ? 'network' : type}:${mapped.to}`;
}

/** Keeps MAC, model and address on the bus; plugs the NIC in where the map says, or nowhere with its link down. */
export function adaptNic(
  nic: XmlElement,
  { networkMap, connectNics, fencedNics = [] }: NicPlan,
): void {
  const before = networkOf(nic);
  const after = targetNetwork(networkMap, before);
  const type = attribute(nic, 'type') ?? 'user';
  removeChildren(nic, 'target', 'backend', 'actual', 'portForward');
  if (HOST_BOUND.has(type)) removeChildren(nic, ...OF_HOST_BOUND);
  // A passed-through NIC has no model, and libvirt's own choice (rtl8139) is the slowest there is.
  if (HOST_BOUND.has(type) && child(nic, 'model') === null)
    append(nic, 'model', { type: 'virtio' });
  setAttributes(nic, { managed: null });
  if (after !== before || after === null) replug(nic, after);
  else forgetPort(nic);
  const link = child(nic, 'link');
  if (after === null || !connectNics) setAttributes(ensureChild(nic, 'link'), { state: 'down' });
  else if (link !== null && isAmong(fencedNics, nic)) setAttributes(link, { state: 'up' });
}

function isAmong(macs: readonly string[] | null, nic: XmlElement): boolean {
  const mac = attribute(child(nic, 'mac'), 'address')?.toLowerCase() ?? null;
  return macs === null || (mac !== null && macs.includes(mac));
}

/** Without a network of the target, user-mode networking: it needs nothing from the host, and its link stays down. */
function replug(nic: XmlElement, network: string | null): void {
  const [type = 'user', ...rest] = (network ?? 'user').split(':');
  const name = rest.join(':');
  removeChildren(nic, 'source', 'virtualport', 'vlan', 'bandwidth', 'filterref');
  dropUnfit(nic, type);
  setAttributes(nic, { type, trustGuestRxFilters: null });
  if (type === 'network') setAttributes(ensureChild(nic, 'source'), { network: name });
  if (type === 'bridge') setAttributes(ensureChild(nic, 'source'), { bridge: name });
  if (type === 'direct') setAttributes(ensureChild(nic, 'source'), { dev: name, mode: 'bridge' });
}

/** With one of these on a NIC of another type libvirt refuses the whole definition (seen with 9.0). */
function dropUnfit(nic: XmlElement, type: string): void {
  removeChildren(nic, 'route');
  if (type !== 'user') removeChildren(nic, 'ip');
  if (type !== 'network' && type !== 'bridge') removeChildren(nic, 'mtu', 'coalesce', 'port');
  for (const team of children(nic, 'teaming')) {
    if (attribute(team, 'type') === 'transient') remove(team);
  }
}

/** The port a live NIC got is the source's; libvirt hands out a new one. */
function forgetPort(nic: XmlElement): void {
  const source = child(nic, 'source');
  if (source === null) return;
  // The device by which `passt` reaches the network. Without that, for it is a backend, nothing has a use for it.
  if (attribute(nic, 'type') === 'user') remove(source);
  const bridgeOfNetwork = attribute(nic, 'type') === 'network' ? { bridge: null } : {};
  setAttributes(source, { portid: null, ...bridgeOfNetwork });
}

/** Keys come from outside: `constructor` is a network name like any other. */
function own(map: NetworkMap, key: string): { readonly to: string | null } | undefined {
  return Object.hasOwn(map, key) ? { to: map[key] ?? null } : undefined;
}
