import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { diskKey, failbackId } from '../../domain/ids.ts';
import type { ConfigurationChange } from '../../domain/vm/configuration-change.ts';
import { readDomain } from './domain-xml.ts';
import { EVERYTHING } from './fixtures/fixtures.ts';
import type { LaidLayer } from './layers-record.ts';
import { attachedXml, mergedXml, parkedXml } from './layers-xml.ts';
import { readReplicaMark } from './replica-mark.ts';
import { attribute, find, findAll, parseRoot, setText } from './xml.ts';

const LAYERS: readonly LaidLayer[] = [
  layer('sda', { path: '/var/lib/libvirt/images/win, a:b.qcow2', format: 'qcow2' }),
  layer('sdb', { path: '/dev/vg0/data', format: 'raw' }),
  layer('sde', null),
];

function layer(key: string, below: LaidLayer['below']): LaidLayer {
  const path = `/store/failbacks/fb-1/${key}.qcow2`;
  return { key: diskKey(key), path, sizeBytes: 1024, below, since: null };
}

function attached(...changes: ConfigurationChange[]): string {
  return attachedXml(EVERYTHING, { layers: LAYERS, changes, nvramPath: null });
}

const sources = (text: string) =>
  Object.fromEntries(
    findAll(parseRoot(text, 'domain', 'vm'), 'devices/disk').map((disk) => {
      const source = find(disk, 'source');
      const where = attribute(source, 'file') ?? attribute(source, 'dev');
      return [attribute(find(disk, 'target'), 'dev'), `${attribute(disk, 'type')} ${where}`];
    }),
  );

describe('the definition of a VM whose failback is under way', () => {
  it('parks every disk where nothing is, and says why; a CD stays', () => {
    const text = parkedXml(EVERYTHING, failbackId('fb-1'), (key) => `/nowhere/${key}`);
    const { sdd, ...disks } = sources(text);
    assert.equal(sdd, 'file /isos/win.iso');
    assert.deepEqual(Object.values(disks).sort(), [
      'file /nowhere/sda',
      'file /nowhere/sdb',
      'file /nowhere/vdc',
      'file /nowhere/vdd',
    ]);
    assert.match(text, /<understudy:parked [^>]*failback="fb-1"/);
    const { disks: _, ...before } = readDomain(EVERYTHING, 'vm');
    const { disks: parked, ...after } = readDomain(text, 'vm');
    assert.deepEqual(after, before);
    assert.equal(parked.length, 4);
  });

  it('is on its layers once attached, keeps its other disks, and has new ones on the bus of those named alike', () => {
    const text = attached();
    const disks = sources(text);
    assert.equal(disks.sda, 'file /store/failbacks/fb-1/sda.qcow2');
    assert.equal(disks.sdb, 'file /store/failbacks/fb-1/sdb.qcow2');
    assert.equal(disks.sde, 'file /store/failbacks/fb-1/sde.qcow2');
    assert.equal(disks.vdd, 'file /shared/quorum.qcow2');
    const { disks: defined } = readDomain(text, 'vm');
    assert.equal(defined.find(({ key }) => key === 'sdb')?.format, 'qcow2');
    const buses = findAll(parseRoot(text, 'domain', 'vm'), 'devices/disk/target');
    const added = buses.find((target) => attribute(target, 'dev') === 'sde');
    assert.equal(attribute(added ?? null, 'bus'), 'scsi');
  });

  it('takes the changes that are asked for, and no other', () => {
    const mac = '52:54:00:00:00:99';
    const text = attached(
      { type: 'memory', fromBytes: 1, toBytes: 3 * 1024 ** 3 },
      { type: 'cpus', from: 1, to: 3 },
      { type: 'nic-added', mac, network: 'direct:eth0' },
      { type: 'nic-removed', mac: '52:54:00:ab:cd:02', network: 'bridge:br-dmz' },
      { type: 'disk-removed', key: diskKey('vdd') },
    );
    const vm = readDomain(text, 'vm');
    assert.deepEqual([vm.memoryBytes, vm.cpuCount], [3 * 1024 ** 3, 3]);
    assert.deepEqual(
      vm.nics.map((nic) => nic.mac),
      ['52:54:00:ab:cd:01', '52:54:00:ab:cd:03', mac],
    );
    assert.equal(vm.nics.at(-1)?.network, 'direct:eth0');
    assert.deepEqual(
      vm.disks.map(({ key }) => key),
      ['sda', 'sdb', 'vdc', 'sde'],
    );
    assert.equal(find(parseRoot(text, 'domain', 'vm'), 'cpu/topology'), null);
  });

  it('gets its own disks back when merged, and keeps what a person changed since', () => {
    const domain = parseRoot(attached(), 'domain', 'vm');
    setText(domain, 'title', 'changed by hand');
    const current = domain.toString();
    const text = mergedXml(current, EVERYTHING, LAYERS);
    const [before, after] = [sources(EVERYTHING), sources(text)];
    assert.equal(after.sda, before.sda);
    assert.equal(after.sdb, before.sdb);
    assert.equal(after.sde, 'file /store/failbacks/fb-1/sde.qcow2');
    assert.match(text, /<title>changed by hand<\/title>/);
    const formats = readDomain(text, 'vm').disks.map(({ key, format }) => `${key} ${format}`);
    assert.ok(formats.includes('sdb raw'), formats.join());
    assert.equal(mergedXml(text, EVERYTHING, LAYERS), text);
  });

  it('is nobody else: a disk that a person put in its place stays', () => {
    const current = attached().replace('/store/failbacks/fb-1/sda.qcow2', '/else/where.qcow2');
    const text = mergedXml(current, EVERYTHING, LAYERS);
    assert.equal(sources(text).sda, 'file /else/where.qcow2');
    assert.deepEqual(readReplicaMark(text, 'vm'), readReplicaMark(EVERYTHING, 'vm'));
  });
});
