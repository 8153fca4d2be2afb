import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import { networkOf } from './domain-xml.ts';
import { blocks, warns } from './finding.ts';
import { nicLabel } from './preflight-changes.ts';
import { type NetworkMap, targetNetwork } from './replica-nics.ts';
import { attribute, child, findAll, type XmlElement } from './xml.ts';

export type NetworkCheck = {
  readonly domain: XmlElement;
  /** The replica's definition: what is left of its NICs. */
  readonly replica: XmlElement;
  readonly networkMap: NetworkMap;
  /** `network:lan`, `bridge:br0`: what the target has. */
  readonly networks: readonly string[];
  /** Names of the target's network devices, of whatever kind. */
  readonly interfaces: readonly string[];
  /** Names of the libvirt networks that run. */
  readonly active: readonly string[];
  /** Names of the filters that the target's libvirt has; null when it does not tell. */
  readonly filters: readonly string[] | null;
};

/** Per NIC: whether what it would be plugged into, and filtered by, exists at the target. */
export function networkFindings(check: NetworkCheck): PreflightFinding[] {
  const plugs = findAll(check.domain, 'devices/interface').flatMap((nic) => {
    const source = networkOf(nic);
    const element = nicLabel(nic);
    const target = targetNetwork(check.networkMap, source);
    const plug = { nic, element, source, target };
    return [...plugFindings(check, plug), ...typeFindings(plug)];
  });
  return [...plugs, ...filterFindings(check)];
}

/** libvirt starts no VM with a filter that it does not have. */
function filterFindings({ replica, filters }: NetworkCheck): PreflightFinding[] {
  return findAll(replica, 'devices/interface').flatMap((nic) => {
    const filter = attribute(child(nic, 'filterref'), 'filter');
    if (filter === null || filters === null || filters.includes(filter)) return [];
    const message = `The target has no filter ${filter}. Define it there: virsh nwfilter-define, or map its network to another.`;
    return [blocks(nicLabel(nic), message)];
  });
}

type Plug = {
  readonly nic: XmlElement;
  readonly element: string;
  readonly source: string;
  /** Null: unplugged. */
  readonly target: string | null;
};

function plugFindings(check: NetworkCheck, plug: Plug): PreflightFinding[] {
  const { element, source, target } = plug;
  const { networks, interfaces, active } = check;
  // Asked for in the map, or said by typeFindings.
  if (target === null) return [];
  const [type, ...rest] = target.split(':');
  const name = rest.join(':');
  const remedy = `Make it, or map ${source} to another network, or to none.`;
  if (type === 'direct' && name !== '' && !interfaces.includes(name)) {
    return [blocks(element, `The target has no network device ${name}. ${remedy}`)];
  }
  if (type !== 'network' && type !== 'bridge') return [];
  if (!networks.includes(target) && !(isSwitched(plug) && interfaces.includes(name))) {
    return [blocks(element, `The target has no ${type} ${name}. ${remedy}`)];
  }
  if (type === 'network' && !active.includes(name)) {
    return [
      blocks(element, `The network ${name} is not active. Start it: virsh net-start ${name}`),
    ];
  }
  return [];
}

/** The bridges of Open vSwitch are none to Linux, but devices of the same name. Plugged in elsewhere, a NIC loses its port there. */
function isSwitched({ nic, source, target }: Plug): boolean {
  const port = attribute(child(nic, 'virtualport'), 'type');
  return port === 'openvswitch' && source === target && source.startsWith('bridge:');
}

function typeFindings({ nic, element, source, target }: Plug): PreflightFinding[] {
  const type = attribute(nic, 'type') ?? '';
  if (type === 'network' || type === 'bridge' || type === 'user') return [];
  if (type === 'direct') {
    const device = attribute(child(nic, 'source'), 'dev');
    const message = `It sits on the network device ${device} at the target too: see that it leads to the same network.`;
    return source === target ? [warns(element, message)] : [];
  }
  const message = `It is of type ${type}, which is bound to the source host: the replica's is unplugged unless mapped.`;
  return [warns(element, message)];
}
