/**
 * Everything by an ordinary user: session daemons, a server without any right, VMs that run as that user. Under root the file
 * runs itself again as `nobody`.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, chown, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { z } from 'zod';
import { operationSchema } from '../../src/contract/operation.ts';
import { pointTestSchema } from '../../src/contract/test-failover.ts';
import { run } from '../../src/rig/command.ts';
import { endProcessesOf } from '../../src/rig/leftovers.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import {
  type Archive,
  archiveOf,
  failOverBlockVm,
  refused,
  succeed,
  transfers,
  writeReplica,
} from './stage/life.ts';
import { openStage, type Stage, skipReason, userEnvironment } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';
import { leftOfTests } from './stage/test-vms.ts';

const userFolder = process.env.UNDERSTUDY_E2E_USER_FOLDER;

if (userFolder === undefined) asRoot();
else asUser(userFolder);

function asRoot(): void {
  test('an ordinary user replicates between session daemons', { skip: skipReason() }, async (t) => {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((which) => run('id', [which, 'nobody'])));
    const become = [
      `--reuid=${Number(uid)}`,
      `--regid=${Number(gid)}`,
      '--clear-groups',
      '--no-new-privs',
    ];
    const asNobody = (env: NodeJS.ProcessEnv, ...words: readonly string[]) =>
      promisify(execFile)('setpriv', [...become, '--', process.execPath, ...words], {
        env,
        cwd: '/',
      });
    const { PATH } = process.env;
    const isReadable = await asNobody({ PATH }, '--check', import.meta.filename).catch(() => false);
    if (isReadable === false) return t.skip('nobody may not read this folder, or not run its Node');

    // In no deeper folder would the sockets of a session daemon have room.
    const folder = await mkdtemp('/tmp/us-');
    try {
      await chmod(folder, 0o755);
      await chown(folder, Number(uid), Number(gid));
      const env = { PATH, ...userEnvironment(folder), UNDERSTUDY_E2E_USER_FOLDER: folder };
      const { stdout } = await asNobody(env, import.meta.filename).catch((failed) =>
        assert.fail(`${failed.stdout}${failed.stderr}`),
      );
      for (const line of stdout.trim().split('\n')) t.diagnostic(line);
    } finally {
      await endProcessesOf(folder);
      await rm(folder, { recursive: true, force: true });
    }
  });
}

function asUser(folder: string): void {
  suite('session daemons of an ordinary user', () => {
    let stage: Stage;
    let vm: BlockVm;
    let protection: Protection;
    let archive: Archive;

    before(async () => {
      stage = await openStage({ userFolder: folder });
      const size = { sizeBytes: 16 * MIB };
      vm = await stage.blockVm({ name: 'mine', disks: [size, { ...size, format: 'raw' }] });
      await vm.start();
      protection = await stage.protect(vm.name);
      archive = archiveOf(stage, vm);
    });
    after(() => stage?.[Symbol.asyncDispose]());

    test('points are exact, and incremental after the first where the disk has change marks', async () => {
      const schema = z.object({ address: z.string() });
      const { address } = await stage.ask(['host', 'show', 'production'], schema);
      assert.equal(address, 'qemu:///session');
      for (const value of [0x11, 0x12]) {
        await vm.write('vda', { offset: MIB, length: 3 * 65536, value });
        await vm.write('vdb', { offset: 0, length: value * 512, value });
        await archive.keep(await stage.replicate(protection));
      }
      const points = await archive.requireAllExact(protection);
      assert.deepEqual(points.map(transfers), [
        ['full', 'full'],
        ['incremental', 'resync'],
      ]);
    });

    test('the replica runs as the user, on the newest point; undone, everything is as it was', async () => {
      const replica = await failOverBlockVm(stage, protection, '--reason', 'mine');
      const pid = stage.recovery.qemuPid(replica.targetVmId ?? '');
      assert.equal((await stat(`/proc/${pid}`)).uid, process.getuid?.());
      const branch = join(
        stage.storageFolder,
        replica.id,
        'branches',
        replica.failover?.branchId ?? '',
      );
      const newest = (await stage.points(protection)).at(-1) ?? assert.fail();
      for (const [key, image] of archive.expected(newest)) {
        await requireSameContent(image, { path: join(branch, `${key}.qcow2`), format: 'qcow2' });
      }
      await writeReplica(stage, replica, 'vda', { offset: 0, length: MIB, value: 0xee });
      assert.equal(await vm.state(), 'running');
      await succeed(stage, 'undo-failover', replica.id);
      assert.equal((await stage.replica(protection)).phase, 'Ready');
      assert.equal(stage.recovery.qemuPid(replica.targetVmId ?? ''), undefined);
      await vm.write('vda', { offset: 2 * MIB, length: 65536, value: 0x13 });
      const next = await stage.replicate(protection);
      assert.equal(transfers(next)[0], 'incremental');
      await archive.keep(next);
      await archive.requireAllExact(protection);
    });

    test('a test has no network of its own there: it is unplugged, and says so', async () => {
      const { id } = await stage.replica(protection);
      const args = ['test', 'run', id, '--probe', 'agent@1s', '-o', 'json'];
      const [operation] = z
        .array(operationSchema)
        .parse(JSON.parse((await stage.attempt(args)).stdout));
      const { isolation, testId, isCleanedUp } = pointTestSchema.parse(operation?.result);
      assert.equal(isolation.kind, 'unplugged');
      assert.match(isolation.because, /session daemon/);
      assert.equal(isCleanedUp, true);
      const archived = await readdir(join(stage.storageFolder, id, 'branches'));
      const left = await leftOfTests(stage, id, [testId]);
      assert.deepEqual(
        left,
        archived.map((branch) => `branch ${branch}`),
      );
      await archive.requireAllExact(protection);
      await stage.requireNothingLeft(protection);
    });

    test('what needs root is refused with the reason', async () => {
      await refused(stage, ['guard', 'install', 'production'], 3, /session/);
    });
  });
}
