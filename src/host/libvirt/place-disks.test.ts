import assert from 'node:assert/strict';
import { it } from 'node:test';
import { diskKey } from '../../domain/ids.ts';
import { placedXml } from './place-disks.ts';

const DEFINITION = `<domain type='qemu'>
  <name>web &amp; "db"</name>
  <vcpu>2</vcpu>
  <devices>
    <disk type='file' device='disk' snapshot='no'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/branch/vda.qcow2' index='3'><seclabel model='dac' relabel='no'/></source>
      <backingStore type='file'><format type='qcow2'/><source file='/points/1/vda.qcow2'/></backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/other/vdb.raw'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
  </devices>
</domain>`;

const VDA = { key: diskKey('vda'), path: '/rest/a "quoted" & path/vda.qcow2' };

it('moves the named disks and leaves everything else as it is', () => {
  const placed = placedXml(DEFINITION, [VDA, { key: diskKey('vdz'), path: '/nowhere' }]) ?? '';
  assert.match(placed, /file="\/rest\/a &quot;quoted&quot; &amp; path\/vda\.qcow2"/);
  assert.doesNotMatch(placed, /branch|backingStore|nowhere/);
  for (const kept of ['discard="unmap"', '/other/vdb.raw', 'device="cdrom"', '<vcpu>2</vcpu>']) {
    assert.ok(placed.includes(kept), kept);
  }
  assert.equal(placedXml(placed, [VDA]), null);
});

it('goes there and back', () => {
  const back = { key: VDA.key, path: '/branch/vda.qcow2' };
  const there = placedXml(DEFINITION, [VDA]) ?? '';
  const again = placedXml(there, [back]) ?? '';
  assert.equal(placedXml(again, [back]), null);
  assert.match(again, /\/branch\/vda\.qcow2/);
});
