import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemProcesses } from '../../system/processes.ts';
import { makeStorageFolder, storageFindings } from './storage-access.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-storage-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const processes = systemProcesses();
const options = { signal: new AbortController().signal };
/** Nobody's ids: neither owner nor group of any folder, and nobody whom an access list names. */
const user = { uid: 61_234, gid: 61_234 };
const look = (storageFolder: string, confinedBy: readonly ('apparmor' | 'selinux')[] = []) =>
  storageFindings({ storageFolder, identity: { user, confinedBy }, processes }, options);

test('a closed folder above the storage is found, with the command that opens it', async () => {
  const closed = join(folder, 'closed');
  const storage = join(closed, 'storage');
  mkdirSync(storage, { recursive: true });
  chmodSync(folder, 0o711);
  chmodSync(closed, 0o700);
  const [finding, ...more] = await look(storage);
  assert.deepEqual(more, []);
  assert.equal(finding?.severity, 'blocks');
  assert.match(finding?.message ?? '', /user 61234.*setfacl -m u:61234:x '.*\/closed'/);
  symlinkSync(storage, join(folder, 'link'));
  assert.deepEqual(await look(join(folder, 'link')), [finding]);
  chmodSync(closed, 0o711);
  assert.deepEqual(await look(storage), []);
  assert.deepEqual(await look(join(storage, 'not', 'made', 'yet')), []);
});

test('the storage folder itself has to let QEMU through', async () => {
  const storage = join(folder, 'private');
  mkdirSync(storage);
  chmodSync(folder, 0o711);
  chmodSync(storage, 0o700);
  assert.equal((await look(storage)).length, 1);
});

test('a QEMU that is the same user as the daemon is not in question', async () => {
  const identity = { user: null, confinedBy: [] };
  const request = { storageFolder: folder, identity, processes };
  assert.deepEqual(await storageFindings(request, options), []);
});

test('SELinux needs a label on folders of our own, AppArmor nothing', async () => {
  chmodSync(folder, 0o711);
  assert.deepEqual(await look(folder, ['apparmor']), []);
  const [finding] = await look(folder, ['selinux']);
  assert.equal(finding?.severity, 'warns');
  assert.match(finding?.message ?? '', /semanage fcontext -a -t virt_image_t/);
});

test('a storage folder is made with those above it; what cannot be one is refused at once', async () => {
  await makeStorageFolder(join(folder, 'made', 'with', 'parents'));
  await makeStorageFolder(join(folder, 'made', 'with', 'parents'));
  assert.ok(existsSync(join(folder, 'made', 'with', 'parents')));
  // Node's own recursive mkdir never comes back from /proc.
  for (const path of [import.meta.filename, join(import.meta.filename, 'below'), '/proc/nothing']) {
    await assert.rejects(makeStorageFolder(path), { code: 'access-denied' });
  }
});
