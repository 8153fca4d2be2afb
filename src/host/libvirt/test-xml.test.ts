import assert from 'node:assert/strict';
import { test } from 'node:test';
import { branchId, diskKey, operationId, operationKey, replicaId, vmId } from '../../domain/ids.ts';
import type { SetUpTest } from '../../ports/test-bench.ts';
import { readDomain } from './domain-xml.ts';
import { readReplicaMark } from './replica-mark.ts';
import { printable } from './test-evidence.ts';
import { hasConsole, readTestMark, testVmId, testXml } from './test-xml.ts';

const SOURCE = vmId('0b5a6cfe-0000-4000-8000-000000000001');
const target = { domainType: 'qemu', machines: [] } as const;

function definition(devices: string): string {
  return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <name>web</name><uuid>${SOURCE}</uuid><memory>1024</memory>
    <os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices>
      <disk type='file' device='disk'><source file='/a.qcow2'/><target dev='vda' bus='virtio'/></disk>
      ${devices}
    </devices>
    <qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='user,id=x'/></qemu:commandline>
  </domain>`;
}

function request(text: string): SetUpTest {
  return {
    key: operationKey(operationId('op-1'), 'set-up'),
    testId: 'tst-1',
    replicaId: replicaId('rp-1'),
    branchId: branchId('br-1'),
    name: 'web-test-1',
    source: {
      id: SOURCE,
      name: 'web',
      power: 'running',
      memoryBytes: 1024,
      cpuCount: 1,
      disks: [],
      nics: [],
      configuration: { format: 'libvirt-domain-xml', text },
      hasSavedState: false,
    },
    disks: [{ key: diskKey('vda'), path: '/branch/vda.qcow2', format: 'qcow2' }],
    sidecars: [],
  };
}

const NICS = `
  <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><link state='down'/></interface>
  <interface type='direct'><mac address='52:54:00:00:00:03'/><source dev='eth0' mode='bridge'/></interface>
  <interface type='user'><mac address='52:54:00:00:00:04'/></interface>
  <interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:05'/><source><address type='pci' domain='0' bus='1' slot='0' function='0'/></source></interface>`;

function made(devices: string, bridge: string | null): string {
  return testXml({ request: request(definition(devices)), target, bridge, consolePath: '/c.raw' });
}

test('every NIC is on the bridge of the test, whatever it was plugged into; MACs stay', () => {
  const { nics, id, name, disks } = readDomain(made(NICS, 'us123'), 'x');
  assert.deepEqual(
    nics.map(({ mac, network, isConnected }) => [mac?.slice(-1), network, isConnected]),
    ['1', '2', '3', '4', '5'].map((last) => [last, 'bridge:us123', true]),
  );
  assert.equal(id, testVmId('tst-1'));
  assert.equal(name, 'web-test-1');
  assert.deepEqual(
    disks.map(({ path }) => path),
    ['/branch/vda.qcow2'],
  );
});

test('without a network every link is down', () => {
  const { nics } = readDomain(made(NICS, null), 'x');
  assert.equal(nics.length, 5);
  assert.deepEqual(new Set(nics.map(({ isConnected }) => isConnected)), new Set([false]));
  assert.doesNotMatch(made(NICS, null), /br0|eth0|'lan'|"lan"/);
});

test('arguments past libvirt are dropped: they could be another network', () => {
  assert.doesNotMatch(made(NICS, 'us123'), /netdev/);
});

test('it carries the mark of its test and not one of a replica', () => {
  const text = made('', 'us123');
  assert.equal(readTestMark(text, 'x'), 'tst-1');
  assert.equal(readReplicaMark(text, 'x'), null);
  assert.equal(readTestMark(definition(''), 'x'), null);
  assert.notEqual(testVmId('tst-1'), testVmId('tst-2'));
});

test('the first serial line goes to a file, and its twin goes', () => {
  const twin = made(
    `<serial type='pty'><target port='0'/></serial><console type='pty'><target type='serial' port='0'/></console>`,
    null,
  );
  assert.match(twin, /<serial type="file">.*path="\/c\.raw".*<\/serial>/s);
  assert.doesNotMatch(twin, /<console/);
  const virtual = made(`<console type='pty'><target type='virtio' port='0'/></console>`, null);
  assert.match(virtual, /<console type="file">.*path="\/c\.raw"/s);
  assert.equal(hasConsole(twin, 'x'), true);
  assert.equal(hasConsole(made('', null), 'x'), false);
});

test('what the guest says cannot steer a terminal', () => {
  assert.equal(
    printable('\u001b[31mred\u001b[0m\r\nx\u0007\u009b2J\u001b]0;title\u0007y\u0000'),
    'red\nx2Jy',
  );
});
