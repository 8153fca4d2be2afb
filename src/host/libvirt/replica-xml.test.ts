import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { vmId } from '../../domain/ids.ts';
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import { readDomain } from './domain-xml.ts';
import { defineRequest, describedAs, EVERYTHING } from './fixtures/fixtures.ts';
import { readReplicaMark } from './replica-mark.ts';
import { targetNetwork } from './replica-nics.ts';
import { machineAt, replicaXml, type TargetTraits } from './replica-xml.ts';
import { attribute, find, findAll, parseRoot, textOf } from './xml.ts';

const id = vmId('11111111-2222-4333-8444-555555555555');
const HARDWARE: TargetTraits = { domainType: 'kvm', machines: ['pc-q35-7.2', 'q35', 'pc'] };

function made(changes: Partial<DefineReplicaRequest> = {}, target: TargetTraits = HARDWARE) {
  const text = replicaXml({ request: defineRequest(changes), vmId: id, target });
  return { text, domain: parseRoot(text, 'domain', 'replica'), vm: readDomain(text, 'replica') };
}

describe('a replica definition', () => {
  it('is a VM of its own, marked as ours, that keeps its MACs', () => {
    const { text, vm, domain } = made();
    assert.equal(vm.id, id);
    assert.equal(vm.name, 'replica');
    assert.deepEqual(readReplicaMark(text, 'vm'), { replicaId: 'replica-1', epoch: 4 });
    assert.equal(text.match(/understudy:replica /g)?.length, 1);
    assert.deepEqual(
      vm.nics.map((nic) => nic.mac),
      ['52:54:00:ab:cd:01', '52:54:00:ab:cd:02', '52:54:00:ab:cd:03'],
    );
    assert.equal(attribute(domain, 'id'), null);
  });

  it('names no file and no device of the source host', () => {
    const devices = `<interface type="user"><source dev="eth9"/><backend type="passt" logFile="/log9"/></interface>
      <pstore backend="acpi-erst"><path>/erst9</path><size>64</size></pstore>
      <video><model type="virtio"><acceleration accel3d="yes" rendernode="/dev/dri/9"/></model></video>
      <redirdev bus="usb" type="spicevmc"><log file="/log9"/></redirdev>
      <smartcard mode="passthrough" type="spicevmc"><log file="/log9"/></smartcard>
      <rng model="virtio"><backend model="egd" type="udp"><log file="/log9"/></backend></rng>`;
    const source = describedAs(EVERYTHING.replace('</devices>', `${devices}</devices>`));
    assert.doesNotMatch(made({ source }).text, /eth9|log9|erst9|dri.9/);
  });

  it('has exactly the disks that were given', () => {
    const { vm, domain } = made();
    assert.deepEqual(
      vm.disks.map(({ key, path, format, unsupportedBecause }) => [
        key,
        path,
        format,
        unsupportedBecause,
      ]),
      [
        ['sda', '/replicas/b 1/sda.qcow2', 'qcow2', null],
        ['sdb', '/replicas/b 1/sdb.qcow2', 'qcow2', null],
      ],
    );
    const [first] = findAll(domain, 'devices/disk');
    assert.ok(first !== undefined);
    assert.equal(attribute(find(first, 'driver'), 'io'), 'native');
    assert.equal(textOf(find(first, 'serial')), 'WD-123');
    assert.equal(find(first, 'backingStore'), null);
    assert.equal(find(first, 'source/seclabel'), null);
    assert.equal(attribute(find(first, 'source'), 'index'), null);
    const drive = findAll(domain, 'devices/disk').find(
      (disk) => attribute(disk, 'device') === 'cdrom',
    );
    assert.ok(drive !== undefined);
    assert.equal(find(drive, 'source'), null);
  });

  it('leaves behind what belongs to the source host', () => {
    const { text, domain } = made();
    const gone = [
      'seclabel',
      'numatune',
      'resource',
      'cputune/vcpupin',
      'memoryBacking/hugepages',
      'devices/emulator',
    ];
    for (const path of [
      ...gone,
      'devices/hostdev',
      'devices/filesystem',
      'devices/serial/source',
      'devices/channel/source',
    ]) {
      assert.equal(find(domain, path), null, path);
    }
    const paths = [
      '/var/lib/libvirt',
      '/isos',
      '/srv/share',
      '10.1.2.3',
      '5907',
      'vnet7',
      'portid',
      '/run/user',
      '<alias',
      'virbr5',
      "address='3'",
    ];
    for (const trace of paths) assert.ok(!text.includes(trace), trace);
    assert.equal(textOf(find(domain, 'genid')), '');
    assert.equal(textOf(find(domain, 'cputune/shares')), '2048');
    assert.equal(attribute(find(domain, 'os/type'), 'machine'), 'q35');
  });

  it('keeps what it does not know', () => {
    const { text } = made();
    for (const kept of [
      'libosinfo:os id="http://microsoft.com/win/2k22"',
      'qemu:arg value="-fw_cfg"',
      '<smm state="on"/>',
      '<title>Mail &amp; calendar</title>',
      'name="org.qemu.guest_agent.0"',
    ]) {
      assert.ok(text.includes(kept), kept);
    }
  });

  it('points the firmware at the variables of the branch, at rest at nothing', () => {
    const nvram = (changes: Partial<DefineReplicaRequest>) =>
      textOf(find(made(changes).domain, 'os/nvram'));
    assert.equal(nvram({ sidecars: [{ name: 'nvram', path: '/b/nvram' }] }), '/b/nvram');
    assert.equal(nvram({}), '/replicas/b 1/nvram');
    assert.equal(attribute(find(made().domain, 'os/nvram'), 'template'), null);
    const text = EVERYTHING.replace('<nvram template=', "<nvram format='qcow2' template=");
    const { domain } = made({ source: describedAs(text) });
    assert.equal(attribute(find(domain, 'os/nvram'), 'format'), 'qcow2');
  });

  it('emulates where no acceleration was proved', () => {
    const { domain } = made({}, { ...HARDWARE, domainType: 'qemu' });
    assert.equal(attribute(domain, 'type'), 'qemu');
    assert.equal(attribute(find(domain, 'cpu'), 'mode'), 'maximum');
    assert.equal(find(domain, 'cpu/feature'), null);
    assert.ok(find(domain, 'cpu/topology') !== null);
    assert.equal(find(domain, 'features/hyperv'), null);
    assert.equal(find(domain, 'features/kvm'), null);
    assert.deepEqual(
      findAll(domain, 'clock/timer').map((timer) => attribute(timer, 'name')),
      ['rtc'],
    );
    assert.equal(attribute(made().domain, 'type'), 'kvm');
  });

  it('plugs NICs in as the map says, and down when told', () => {
    const networkMap = { lan: 'recovery', 'bridge:br-dmz': null };
    const { vm } = made({ networkMap });
    assert.deepEqual(
      vm.nics.map((nic) => `${nic.network} ${nic.isConnected}`),
      ['network:recovery true', 'user false', 'user false'],
    );
    assert.ok(made({ connectNics: false }).vm.nics.every((nic) => !nic.isConnected));
  });

  it('leaves a link down that was down at the source, unless a fence had cut it off', () => {
    const cut = EVERYTHING.replaceAll('</interface>', "<link state='down'/></interface>");
    const source = describedAs(cut);
    const networkMap = { lan: 'recovery', 'bridge:br-dmz': null };
    const links = (changes: Partial<DefineReplicaRequest>) =>
      made({ source, networkMap, ...changes }).vm.nics.map((nic) => nic.isConnected);
    const [fenced] = source.nics.map(({ mac }) => mac ?? '');
    assert.deepEqual(links({}), [false, false, false]);
    assert.deepEqual(links({ fencedNics: [fenced ?? ''] }), [true, false, false]);
    assert.deepEqual(links({ fencedNics: null }), [true, false, false]);
    assert.deepEqual(links({ fencedNics: null, connectNics: false }), [false, false, false]);
  });

  it('maps networks', () => {
    assert.equal(targetNetwork({}, 'network:lan'), 'network:lan');
    assert.equal(targetNetwork({ 'network:lan': 'bridge:br0' }, 'network:lan'), 'bridge:br0');
    assert.equal(targetNetwork({ br0: 'br1' }, 'bridge:br0'), 'bridge:br1');
    assert.equal(targetNetwork({ lan: null }, 'network:lan'), null);
    assert.equal(targetNetwork({}, 'network:constructor'), 'network:constructor');
    assert.equal(targetNetwork({}, 'hostdev'), null);
    assert.equal(targetNetwork({ 'network:a:b': 'c' }, 'network:a:b'), 'network:c');
  });

  it('survives any name, and a second replication of itself', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom('--help', `a'"<b>&`, ']]>')),
        (name) => {
          fc.pre(!/[^\u0020-\ud7ff\ue000-\ufffd]/.test(name));
          const { text, vm } = made({ name });
          assert.equal(vm.name, name);
          const source = {
            ...defineRequest().source,
            configuration: { format: 'libvirt-domain-xml' as const, text },
          };
          assert.equal(made({ name, source }).text, text);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('takes the alias of a machine that is too new', () => {
    assert.equal(machineAt(['pc', 'q35'], 'pc-i440fx-9.9'), 'pc');
    assert.equal(machineAt(['pc-q35-7.2', 'q35'], 'pc-q35-7.2'), 'pc-q35-7.2');
    assert.equal(machineAt(['q35'], 'vendor-machine'), 'vendor-machine');
    assert.equal(machineAt([], 'pc-q35-9.9'), 'pc-q35-9.9');
  });
});
