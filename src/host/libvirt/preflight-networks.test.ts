import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NetworkCheck, networkFindings } from './preflight-networks.ts';
import type { NetworkMap } from './replica-nics.ts';
import { parseRoot } from './xml.ts';

function findings(nic: string, networkMap: NetworkMap = {}): string[] {
  const text = `<domain><devices>${nic}</devices></domain>`;
  const check: NetworkCheck = {
    domain: parseRoot(text, 'domain', 'vm'),
    replica: parseRoot(text, 'domain', 'vm'),
    networkMap,
    networks: ['network:lan', 'bridge:br0'],
    interfaces: ['lo', 'eth0', 'br0', 'ovs0'],
    active: ['lan'],
    filters: null,
  };
  return networkFindings(check).map(({ severity, message }) => `${severity}: ${message}`);
}

test('a NIC on a device of the host needs one of that name, unless it is mapped to something else', () => {
  const on = (device: string) =>
    `<interface type="direct"><source dev="${device}" mode="bridge"/></interface>`;
  assert.match(findings(on('eth0')).join(), /^warns: It sits on the network device eth0[^,]*$/);
  assert.match(findings(on('eth7')).join(), /^blocks: The target has no network device eth7/);
  assert.deepEqual(findings(on('eth7'), { 'direct:eth7': 'network:lan' }), []);
  assert.deepEqual(findings(on('eth7'), { 'direct:eth7': null }), []);
  const nic = '<interface type="network"><source network="lan"/></interface>';
  assert.deepEqual(findings(nic, { lan: 'direct:eth0' }), []);
  const elsewhere = findings(nic, { lan: 'direct:eth7' });
  assert.match(elsewhere.join(), /^blocks: The target has no network device eth7/);
});

test('a bridge of Open vSwitch is none to Linux, and there all the same', () => {
  const on = (bridge: string, port: string) =>
    `<interface type="bridge"><source bridge="${bridge}"/>${port}</interface>`;
  const port = '<virtualport type="openvswitch"/>';
  assert.deepEqual(findings(on('ovs0', port)), []);
  assert.match(findings(on('ovs7', port)).join(), /^blocks: The target has no bridge ovs7/);
  assert.match(findings(on('ovs0', '')).join(), /^blocks: The target has no bridge ovs0/);
  // Plugged in elsewhere it has an ordinary port.
  const moved = findings(on('ovs0', port), { ovs0: 'bridge:lo' });
  assert.match(moved.join(), /^blocks: The target has no bridge lo/);
});
