/** What a replica's NIC does not take over, in words; `replica-nics.ts` does it. */
import type { Sentences } from './preflight-changes.ts';
import { attribute, type XmlElement } from './xml.ts';

/** Of a NIC that is plugged in elsewhere than at the source, or nowhere. */
export const NIC_SENTENCES: Sentences = [
  // Where it is plugged in: said by the map, or by the finding on its type.
  ...['@type', '@managed', 'source/**', 'link/**', 'actual/**'].map(
    (path) => [`devices/interface/${path}`, null] as const,
  ),
  ['devices/interface/target', tapDevice],
  ['devices/interface/vlan', 'Its VLAN is of the network at the source and is not set here.'],
  [
    'devices/interface/virtualport',
    'Its virtual port is of the switch at the source; it gets an ordinary one.',
  ],
  [
    'devices/interface/bandwidth',
    'Its limits of bandwidth are for the network at the source and are not set here.',
  ],
  [
    'devices/interface/filterref',
    (filter) =>
      `Its filter ${attribute(filter, 'filter')} is for the network at the source: nothing is filtered here.`,
  ],
  [
    'devices/interface/@trustGuestRxFilters',
    "The network here does not follow the guest's filters of received packets.",
  ],
  ['devices/interface/mtu', 'Its MTU is not set: it is plugged into something else here.'],
  [
    'devices/interface/coalesce',
    'Its interrupts are not coalesced: it is plugged into something else here.',
  ],
  ['devices/interface/port', 'Its port is not isolated: it is plugged into something else here.'],
  ['devices/interface/ip', 'Its address is given by the network here, not by QEMU.'],
  ['devices/interface/route', 'Its routes are given by the network here, not by QEMU.'],
  ['devices/interface/backend', 'What serves it is chosen by the target.'],
  [
    'devices/interface/portForward',
    'Ports of the source host that are forwarded to it are not forwarded here.',
  ],
  ['devices/interface/driver', "Its driver is that of the source host's device."],
  [
    'devices/interface/driver/@name',
    'Its packets go through QEMU: vhost needs hardware acceleration.',
  ],
  ['devices/interface/rom', "Its boot ROM is that of the source host's device."],
  ['devices/interface/script', 'The script that plugs it in is of the source host.'],
  ['devices/interface/downscript', 'The script that unplugs it is of the source host.'],
  [
    'devices/interface/teaming',
    'It teams up with a NIC that is bound to the source host; the replica has each by itself.',
  ],
];

/** libvirt numbers its own, and gives others to other VMs. */
function tapDevice(target: XmlElement): string | null {
  const name = attribute(target, 'dev');
  const isMadeUp = name === null || /^(?:vnet|macvtap|macvlan|vif)\d+$/.test(name);
  return isMadeUp ? null : `Its device on the host is not called ${name} there.`;
}
