import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diskKey, markName } from '../../domain/ids.ts';
import { backupXml, CHANGES_BITMAP, markXml, readBackupSocket, readMark } from './backup-xml.ts';
import { attribute, findAll, parseRoot } from './xml.ts';

const KEYS = ['vda', 'vdb', 'sdc'].map(diskKey);

test('one job mixes full and incremental, and exports changes only where there are any', () => {
  const text = backupXml({
    socketPath: '/s/nbd',
    disks: [
      { key: diskKey('vda'), scratchPath: '/s/vda', since: markName('us-1') },
      { key: diskKey('vdb'), scratchPath: '/s/vdb', since: null },
    ],
  });
  const disks = findAll(parseRoot(text, 'domainbackup', 'test'), 'disks/disk');
  const of = (name: string) => disks.map((disk) => attribute(disk, name));
  assert.deepEqual(of('backupmode'), ['incremental', 'full']);
  assert.deepEqual(of('incremental'), ['us-1', null]);
  assert.deepEqual(of('exportbitmap'), [CHANGES_BITMAP, null]);
  assert.deepEqual(of('exportname'), ['vda', 'vdb']);
});

test('any path survives the way into the XML and back', () => {
  const path = fc
    .string({ unit: 'grapheme-ascii', minLength: 1 })
    .map((text) => `/${text}<&>"'\n${text}`);
  fc.assert(
    fc.property(path, (socketPath) => {
      const disks = KEYS.map((key) => ({ key, scratchPath: socketPath, since: null }));
      const text = backupXml({ socketPath, disks });
      assert.equal(readBackupSocket(text, 'test'), socketPath);
      const files = findAll(parseRoot(text, 'domainbackup', 'test'), 'disks/disk/scratch');
      assert.deepEqual(
        files.map((file) => attribute(file, 'file')),
        KEYS.map(() => socketPath),
      );
    }),
  );
});

test('a push job and one over TCP have no socket of ours', () => {
  assert.equal(readBackupSocket('<domainbackup mode="push"/>', 'test'), null);
  const tcp =
    '<domainbackup mode="pull"><server transport="tcp" name="::1" port="1"/></domainbackup>';
  assert.equal(readBackupSocket(tcp, 'test'), null);
});

test('a mark reads back as it was defined', () => {
  const existing = { createdAtSeconds: 1_700_000_000, parent: 'x" <y>' };
  const text = markXml({ mark: markName('us-1'), disks: KEYS, existing });
  assert.deepEqual(readMark(text, 'test'), { disks: KEYS, ...existing });
  const fresh = readMark(markXml({ mark: markName('us-1'), disks: ['vda'] }), 'test');
  assert.deepEqual(fresh, { disks: ['vda'], createdAtSeconds: 0, parent: null });
});

test('disks that do not carry the mark are left out', () => {
  const text =
    "<domaincheckpoint><disks><disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='no'/></disks></domaincheckpoint>";
  assert.deepEqual(readMark(text, 'test').disks, ['vda']);
});
