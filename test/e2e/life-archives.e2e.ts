/**
 * What a replica wrote is never lost by accident: hopping between points, failing over to an archive again, exports. What
 * each branch must hold is kept in plain files beside it (model), and compared by qemu-img.
 */
import assert from 'node:assert/strict';
import { open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { archiveDetailSchema, archiveDiffSchema } from '../../src/contract/archive.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import { run } from '../../src/rig/command.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, MIB, type Write } from './stage/block-vm.ts';
import { type Image, requireSameContent } from './stage/bytes.ts';
import {
  type Archive,
  archiveOf,
  begin,
  failOverBlockVm,
  order,
  refused,
  succeed,
  transfers,
  untilRunning,
  writeReplica,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const KEYS = ['vda', 'vdb'];

suite('archived branches', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let kept: Archive;
  let models = 0;
  const points: PointAnswer[] = [];

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'archived' });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', '2']);
    kept = archiveOf(stage, vm);
    for (let round = 0; round < 2; round++) await takePoint(0x11 + round);
  });
  after(() => stage?.[Symbol.asyncDispose]());

  async function takePoint(value: number): Promise<PointAnswer> {
    await vm.write('vda', { offset: 4 * MIB, length: 2 * MIB, value });
    await vm.write('vdb', { offset: (value % 8) * MIB, length: 777 * 512, value });
    const point = await stage.replicate(protection);
    await kept.keep(point);
    points.push(point);
    return point;
  }

  /** What the disks of a branch must hold. */
  type Model = ReadonlyMap<string, Image>;

  async function modelOf(images: ReadonlyMap<string, Image>): Promise<Model> {
    models += 1;
    const copies = new Map<string, Image>();
    for (const [key, { path }] of images) {
      const copy = join(vm.folder, `model-${models}-${key}.raw`);
      await run('cp', ['--sparse=always', '--', path, copy]);
      copies.set(key, { path: copy, format: 'raw' });
    }
    return copies;
  }

  /** The same to the running replica and to the model. */
  async function write(model: Model, key: string, wish: Write): Promise<void> {
    await writeReplica(stage, await stage.replica(protection), key, wish);
    const file = await open(model.get(key)?.path ?? '', 'r+');
    try {
      await file.write(Buffer.alloc(wish.length, wish.value), 0, wish.length, wish.offset);
    } finally {
      await file.close();
    }
  }

  const branchImage = (replica: ReplicaAnswer, branch: string, key: string): Image => ({
    path: join(stage.storageFolder, replica.id, 'branches', branch, `${key}.qcow2`),
    format: 'qcow2',
  });

  async function requireArchived(branch: string, model: Model): Promise<void> {
    const replica = await stage.replica(protection);
    assert.ok(replica.archives.some(({ branchId }) => branchId === branch));
    for (const key of KEYS) {
      const image = branchImage(replica, branch, key);
      assert.equal((await stat(image.path)).mode & 0o777, 0o444);
      await requireSameContent(model.get(key) ?? image, image);
    }
  }

  async function hop(...args: readonly string[]): Promise<ReplicaAnswer> {
    const { id } = await stage.replica(protection);
    const operation = await begin(stage, 'hop', id, ...args);
    return untilRunning(stage, protection, operation.id);
  }

  /** Models of the archived branches, by their ids. */
  const archived = new Map<string, Model>();

  test('hop: the replica runs on the other point, what it wrote is archived', async () => {
    const [older, newer] = points;
    assert.ok(older && newer);
    const first = await failOverBlockVm(stage, protection, '--fence', 'nics');
    const model = await modelOf(kept.expected(newer));
    await write(model, 'vda', { offset: 20 * MIB, length: MIB, value: 0xa1 });
    await write(model, 'vdb', { offset: 60 * MIB, length: 65536, value: 0xa2 });
    await refused(stage, ['hop', first.id], 2, /either --point or --archive/);
    const hopped = await hop('--point', older.id, '--reason', 'the newest was bad already');
    assert.equal(hopped.phase, 'Failover');
    assert.equal(hopped.failover?.pointId, older.id);
    assert.equal(hopped.failover?.fence, 'nics');
    assert.ok(hopped.epoch > first.epoch);
    archived.set(first.failover?.branchId ?? '', model);
    const branch = hopped.failover?.branchId ?? '';
    for (const key of KEYS) {
      const wanted = kept.expected(older).get(key);
      assert.ok(wanted);
      await requireSameContent(wanted, branchImage(hopped, branch, key));
    }
    await kept.requireAllExact(protection);
  });

  test('a hop that cannot be leaves the replica running where it was', async (t) => {
    const [older, newer] = points;
    assert.ok(older && newer);
    const running = await stage.replica(protection);
    const branch = running.failover?.branchId ?? '';
    const model = await modelOf(kept.expected(older));
    await write(model, 'vda', { offset: 30 * MIB, length: MIB, value: 0xb1 });
    // Branches are made in it; what is in the branches can be written on.
    const branches = join(stage.storageFolder, running.id, 'branches');
    if (await makeImmutable(branches)) {
      const failed = await order(stage, 'hop', running.id, '--point', newer.id).finally(() =>
        run('chattr', ['-i', branches]),
      );
      assert.equal(failed.state, 'failed', describe(failed));
    } else {
      t.skip(`nothing makes the hop fail: chattr +i has no effect on ${branches}`);
    }
    const after = await stage.replica(protection);
    assert.deepEqual(after.failover, running.failover);
    assert.ok(stage.recovery.qemuPid(after.targetVmId ?? ''), 'it runs again');
    await write(model, 'vda', { offset: 31 * MIB, length: MIB, value: 0xb2 });
    await succeed(stage, 'undo-failover', after.id);
    archived.set(branch, model);
    await requireAllArchived();
  });

  /** False where the file system knows no such attribute, or we may not set it. */
  async function makeImmutable(folder: string): Promise<boolean> {
    await run('chattr', ['+i', folder]).catch(() => undefined);
    const [attributes] = (await run('lsattr', ['-d', folder]).catch(() => '')).split(' ');
    return attributes?.includes('i') === true;
  }

  async function requireAllArchived(): Promise<void> {
    const replica = await stage.replica(protection);
    if (replica.phase === 'Failover') await succeed(stage, 'undo-failover', replica.id);
    for (const [branch, model] of archived) await requireArchived(branch, model);
    await kept.requireAllExact(protection);
  }

  test('the list says over which point, how large and how long; the diff, what was written', async () => {
    const { id } = await stage.replica(protection);
    const listed = await stage.ask(['archive', 'list', id], z.array(archiveDetailSchema));
    const [first] = listed;
    assert.ok(first && (first.bytes ?? 0) > MIB);
    assert.equal(first.pointId, points[1]?.id);
    assert.equal(first.pointTakenAt, points[1]?.takenAt);
    const diff = await stage.ask(['archive', 'diff', id, first.branchId], archiveDiffSchema);
    assert.deepEqual(
      diff.disks.map(({ key, writtenBytes, ranges }) => [key, writtenBytes, ranges]),
      [
        ['vda', MIB, [{ offset: 20 * MIB, length: MIB, isZero: false }]],
        ['vdb', 65536, [{ offset: 60 * MIB, length: 65536, isZero: false }]],
      ],
    );
  });

  test('failing over to an archive again: exact, and neither that nor its undo touches it', async () => {
    const { id } = await stage.replica(protection);
    const [branch, model] = [...archived][0] ?? [];
    assert.ok(branch && model);
    const running = await failOverBlockVm(stage, protection, '--archive', branch);
    assert.equal(running.failover?.overBranchId, branch);
    const over = running.failover?.branchId ?? '';
    for (const key of KEYS) {
      await requireSameContent(model.get(key) as Image, branchImage(running, over, key));
    }
    const next = await modelOf(model);
    await write(next, 'vda', { offset: 20 * MIB, length: 2 * MIB, value: 0xc1 });
    await refused(stage, ['archive', 'delete', id, branch], 3, /lies over it/);
    await succeed(stage, 'undo-failover', id);
    archived.set(over, next);
    await requireAllArchived();
  });

  test('archives outlive their points, through retention merges and the next runs', async () => {
    for (let round = 0; round < 3; round++) {
      const point = await takePoint(0x31 + round);
      assert.deepEqual(transfers(point), ['incremental', 'incremental']);
    }
    const { id } = await stage.replica(protection);
    const left = (await stage.points(protection)).map((point) => point.id);
    assert.ok(points.slice(0, 2).every((point) => !left.includes(point.id)));
    await requireAllArchived();
    const [first] = archived.keys();
    const running = await failOverBlockVm(stage, protection, '--archive', first ?? '');
    const over = running.failover?.branchId ?? '';
    for (const key of KEYS) {
      const wanted = archived.get(first ?? '')?.get(key) as Image;
      await requireSameContent(wanted, branchImage(running, over, key));
    }
    await succeed(stage, 'undo-failover', id);
  });

  test('an archive and a point are exported as files that need nothing else', async () => {
    const { id } = await stage.replica(protection);
    const [, newest] = await stage.points(protection);
    assert.ok(newest);
    for (const [over, model] of [...archived].slice(-1)) {
      const { result } = await succeed(stage, 'archive', 'export', id, over);
      await requireExported(result, model);
    }
    const { result } = await succeed(stage, 'point', 'export', id, newest.id);
    const folder = await requireExported(result, kept.expected(newest));
    const about = z
      .object({
        pointId: z.string(),
        vm: z.object({ configuration: z.object({ text: z.string() }) }),
      })
      .parse(JSON.parse(await readFile(join(folder, 'export.json'), 'utf8')));
    assert.equal(about.pointId, newest.id);
    assert.match(about.vm.configuration.text, /<domain/);
    await requireOnlyArchivesHold();
  });

  /** Layers that only archives still read are hidden, not left over. */
  async function requireOnlyArchivesHold(): Promise<void> {
    let left: readonly string[] = [];
    const look = async () => {
      left = (await stage.leftovers(protection)).filter(
        (one) => !/^layer .* of no point$/.test(one),
      );
      return left.length === 0;
    };
    await untilTrue('nothing else is left', look, { deadlineMs: 40_000, pauseMs: 200 }).catch(() =>
      assert.deepEqual(left, []),
    );
  }

  async function requireExported(result: unknown, wanted: Model): Promise<string> {
    const { folder, disks } = exportedSchema.parse(result);
    assert.ok(folder.startsWith(join(stage.storageFolder, 'exports')));
    assert.deepEqual(disks.map(({ key }) => key).toSorted(), KEYS);
    for (const { key, path } of disks) {
      const info = await run('qemu-img', ['info', '--output=json', '-f', 'qcow2', '--', path]);
      assert.equal(JSON.parse(info)['backing-filename'], undefined);
      // Where nothing else of the replica is.
      const away = join(vm.folder, `away-${key}.qcow2`);
      await run('cp', ['--sparse=always', '--', path, away]);
      await requireSameContent(wanted.get(key) as Image, { path: away, format: 'qcow2' });
      await run('qemu-img', ['check', '-q', '-f', 'qcow2', '--', away]);
      await rm(away);
    }
    return folder;
  }

  test('an export goes on after the server was killed', async () => {
    const { id } = await stage.replica(protection);
    const [, newest] = await stage.points(protection);
    assert.ok(newest);
    const begun = await begin(stage, 'point', 'export', id, newest.id);
    await stage.server.kill9();
    await stage.server.restart();
    const done = await stage.settled(begun.id);
    assert.equal(done.state, 'succeeded', describe(done));
    await requireExported(done.result, kept.expected(newest));
    await requireOnlyArchivesHold();
  });

  test('kept longer, deleted now', async () => {
    const { id } = await stage.replica(protection);
    const ids = [...archived.keys()];
    await succeed(stage, 'archive', 'keep', id, ids[0] ?? '', '--until', '2w');
    const { archives } = await stage.replica(protection);
    const until = Date.parse(archives.find(({ branchId }) => branchId === ids[0])?.keepUntil ?? '');
    assert.ok(until > Date.now() + 13 * 24 * 3600 * 1000);
    for (const { branchId } of archives.toReversed()) {
      await succeed(stage, 'archive', 'delete', id, branchId);
    }
    assert.deepEqual((await stage.replica(protection)).archives, []);
    await takePoint(0x41);
    await kept.requireAllExact(protection);
    await stage.requireNothingLeft(protection);
  });

  test('made permanent on an archive: the VM has its own disks, with all that it read through the archive', async () => {
    const newest = points.at(-1);
    assert.ok(newest);
    const first = await failOverBlockVm(stage, protection);
    const model = await modelOf(kept.expected(newest));
    await write(model, 'vda', { offset: 25 * MIB, length: MIB, value: 0xd1 });
    await write(model, 'vdb', { offset: 33 * MIB, length: 65536, value: 0 });
    await succeed(stage, 'undo-failover', first.id);
    const branch = first.failover?.branchId ?? '';
    const serving = await failOverBlockVm(stage, protection, '--archive', branch);
    await write(model, 'vda', { offset: 26 * MIB, length: MIB, value: 0xd2 });
    await succeed(stage, 'permanent-failover', serving.id);
    const domain = ['--domain', serving.targetVmId ?? ''];
    await stage.recovery.virsh(['destroy', ...domain]);
    for (const key of KEYS) {
      const image = branchImage(serving, serving.failover?.branchId ?? '', key);
      const info = await run('qemu-img', [
        'info',
        '--output=json',
        '-f',
        'qcow2',
        '--',
        image.path,
      ]);
      assert.equal(JSON.parse(info)['backing-filename'], undefined);
      await requireSameContent(model.get(key) as Image, image);
    }
    const folders = await readdir(join(stage.storageFolder, serving.id, 'branches'));
    assert.deepEqual(folders, [serving.failover?.branchId]);
  });
});

const exportedSchema = z.object({
  folder: z.string(),
  disks: z.array(z.object({ key: z.string(), path: z.string(), fileBytes: z.number() })),
});
