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
    return [...plugFindings(check, { element, source, target }), ...typeFindings(nic, element)];
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

function plugFindings(
  { networks, active }: NetworkCheck,
  { element, source, target }: { element: string; source: string; target: string | null },
): PreflightFinding[] {
  // Asked for in the map, or said by typeFindings.
  if (target === null) return [];
  const [type, ...rest] = target.split(':');
  const name = rest.join(':');
  const remedy = `Make it, or map ${source} to another network, or to none.`;
  if (type !== 'network' && type !== 'bridge') return [];
  if (!networks.includes(target)) {
    return [blocks(element, `The target has no ${type} ${name}. ${remedy}`)];
  }
  if (type === 'network' && !active.includes(name)) {
    return [
      blocks(element, `The network ${name} is not active. Start it: virsh net-start ${name}`),
    ];
  }
  return [];
}

function typeFindings(nic: XmlElement, element: string): PreflightFinding[] {
  const type = attribute(nic, 'type') ?? '';
  if (type === 'network' || type === 'bridge' || type === 'user') return [];
  if (type === 'direct') {
    const device = attribute(child(nic, 'source'), 'dev');
    return [
      warns(element, `It sits on the network device ${device}, which the target must have too.`),
    ];
  }
  const message = `It is of type ${type}, which is bound to the source host: the replica's is unplugged unless mapped.`;
  return [warns(element, message)];
}
