import assert from 'node:assert/strict';
import { existsSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { vmId } from '../../domain/ids.ts';
import { systemProcesses } from '../../system/processes.ts';
import { describedAs, EVERYTHING } from './fixtures/fixtures.ts';
import { collectSidecars, keepTpm, placeTpm, placeVariables, restoreTpm } from './sidecars.ts';

const signal = new AbortController().signal;
const NVRAM = '/var/lib/libvirt/qemu/nvram/win_VARS.fd';

describe('sidecars', () => {
  it('are collected from the source and placed for the replica, however often', async () => {
    await withFolder(async (folder) => {
      const nvram = join(folder, 'vars & more.fd');
      const vm = describedAs(EVERYTHING.replace(NVRAM, nvram.replace('&', '&amp;')));
      const state = join(folder, 'swtpm', vm.id, 'tpm2');
      await mkdir(state, { recursive: true });
      await writeFile(nvram, 'variables');
      await writeFile(join(state, 'tpm2-00.permall'), 'secret');
      await writeFile(join(state, '.lock'), '');
      const tools = { processes: systemProcesses(), swtpmFolder: join(folder, 'swtpm') };
      const out = join(folder, 'out');
      await mkdir(out);
      await collectSidecars(tools, { vm, folder: out }, { signal });
      const sidecars = await collectSidecars(tools, { vm, folder: out }, { signal });
      assert.deepEqual(
        sidecars.map(({ name }) => name),
        ['nvram', 'tpm'],
      );
      assert.equal(await readFile(sidecars[0]?.path ?? '', 'utf8'), 'variables');
      const replica = vmId('11111111-2222-4333-8444-555555555555');
      const request = { sidecars, vmId: replica, text: EVERYTHING };
      await placeTpm(tools, request, { signal });
      await placeTpm(tools, request, { signal });
      const placed = join(folder, 'swtpm', replica, 'tpm2');
      assert.deepEqual(await readdir(placed), ['tpm2-00.permall']);
      assert.equal(await readFile(join(placed, 'tpm2-00.permall'), 'utf8'), 'secret');
    });
  });

  it('of a VM give way to those of its replica, and come back', async () => {
    for (const own of ['own', null]) {
      await withFolder(async (folder) => {
        const id = vmId('11111111-2222-4333-8444-555555555555');
        const tools = { processes: systemProcesses(), swtpmFolder: join(folder, 'swtpm') };
        const state = join(tools.swtpmFolder, id, 'tpm2');
        const foreign = join(folder, 'foreign');
        await mkdir(foreign);
        await writeFile(join(foreign, 'tpm2-00.permall'), 'foreign');
        const path = join(folder, 'tpm.tar');
        const args = ['--create', '--file', path, '--directory', foreign, '.'];
        await tools.processes.run({ command: 'tar', arguments: args }, { signal });
        if (own !== null) {
          await mkdir(state, { recursive: true });
          await writeFile(join(state, 'tpm2-00.permall'), own);
        }
        const kept = { vmId: id, text: EVERYTHING, path: join(folder, 'kept.tar') };
        const given = { sidecars: [{ name: 'tpm', path }], vmId: id, text: EVERYTHING } as const;
        for (let time = 0; time < 2; time += 1) {
          await keepTpm(tools, kept, { signal });
          await placeTpm(tools, given, { signal });
        }
        assert.equal(await readFile(join(state, 'tpm2-00.permall'), 'utf8'), 'foreign');
        await restoreTpm(tools, kept, { signal });
        await restoreTpm(tools, kept, { signal });
        const back = await readFile(join(state, 'tpm2-00.permall'), 'utf8').catch(() => null);
        assert.equal(back, own);
      });
    }
  });

  it('set aside in an archive that cannot be read any more stay where they are, and so does what is there now', async () => {
    await withFolder(async (folder) => {
      const { tools, state, kept } = await withOwnTpm(folder);
      const damaged = 'x'.repeat(2048);
      await writeFile(kept.path, damaged);
      await assert.rejects(restoreTpm(tools, kept, { signal }), { code: 'access-denied' });
      assert.equal(await readFile(kept.path, 'utf8'), damaged);
      assert.equal(await readFile(join(state, 'tpm2-00.permall'), 'utf8'), 'own');
    });
  });

  it('are for nobody else to read: a TPM holds the keys of its guest', async () => {
    await withFolder(async (folder) => {
      const vm = describedAs(EVERYTHING.replace(NVRAM, join(folder, 'absent')));
      const tools = { processes: systemProcesses(), swtpmFolder: join(folder, 'swtpm') };
      const state = join(tools.swtpmFolder, vm.id, 'tpm2');
      await mkdir(state, { recursive: true });
      await writeFile(join(state, 'tpm2-00.permall'), 'secret');
      const [collected] = await collectSidecars(tools, { vm, folder }, { signal });
      const path = join(folder, 'kept.tar');
      // As an attempt that was cut off has left it, made by others' rules.
      await writeFile(`${path}.new`, 'half', { mode: 0o644 });
      await keepTpm(tools, { vmId: vm.id, text: EVERYTHING, path }, { signal });
      for (const archive of [collected?.path ?? '', path]) {
        assert.equal((await stat(archive)).mode & 0o777, 0o600, archive);
      }
    });
  });

  it('survive a power cut wherever they are put, and what was set aside until they are back', async () => {
    await withFolder(async (folder) => {
      const { tools, state, kept } = await withOwnTpm(folder);
      const keeping = await syncsOf(kept.path, () => keepTpm(tools, kept, { signal }));
      assert.ok(keeping.includes(`${folder}, kept`), keeping.join('; '));
      const restoring = await syncsOf(kept.path, () => restoreTpm(tools, kept, { signal }));
      const path = [join(state, 'tpm2-00.permall'), state, dirname(state), tools.swtpmFolder];
      assert.deepEqual(
        restoring,
        path.map((one) => `${one}, kept`),
      );
      assert.equal(existsSync(kept.path), false);
      const variables = join(folder, 'nvram');
      await writeFile(variables, 'variables');
      const placed = join(folder, 'placed');
      const placing = await syncsOf(placed, () => placeVariables(variables, placed));
      assert.deepEqual(placing, [`${placed}, kept`, `${folder}, kept`]);
    });
  });

  it('of a VM that never ran are none', async () => {
    await withFolder(async (folder) => {
      const vm = describedAs(EVERYTHING.replace(NVRAM, join(folder, 'absent')));
      const tools = { processes: systemProcesses(), swtpmFolder: join(folder, 'swtpm') };
      assert.deepEqual(await collectSidecars(tools, { vm, folder }, { signal }), []);
    });
  });
});

/** A VM whose TPM has state, and where that is to be set aside. */
async function withOwnTpm(folder: string) {
  const id = vmId('11111111-2222-4333-8444-555555555555');
  const tools = { processes: systemProcesses(), swtpmFolder: join(folder, 'swtpm') };
  const state = join(tools.swtpmFolder, id, 'tpm2');
  await mkdir(state, { recursive: true });
  await writeFile(join(state, 'tpm2-00.permall'), 'own');
  return { tools, state, kept: { vmId: id, text: EVERYTHING, path: join(folder, 'kept.tar') } };
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'us-sidecars-test-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What is made durable meanwhile, in order, and whether this file is there at that instant. */
async function syncsOf(path: string, use: () => Promise<void>): Promise<string[]> {
  const synced: string[] = [];
  await using probe = await open('/dev/null');
  const handles = Object.getPrototypeOf(probe);
  const original = handles.sync;
  handles.sync = function (this: typeof probe) {
    const target = readlinkSync(`/proc/self/fd/${this.fd}`);
    synced.push(`${target}, ${existsSync(path) ? 'kept' : 'gone'}`);
    return original.call(this);
  };
  try {
    await use();
  } finally {
    handles.sync = original;
  }
  return synced;
}
