/** Retention: what is kept reads the same through every merge, also through one that is killed half-way. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import type { PointAnswer } from '../../src/contract/point.ts';
import { commandLineOf, killIfAlive, listProcesses, waitForExit } from '../../src/rig/processes.ts';
import { until } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { type Archive, archiveOf } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const KEPT = 2;

suite('retention by count', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;
  let round = 0;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'merged', disks: [{ sizeBytes: 256 * MIB }] });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', String(KEPT)]);
    archive = archiveOf(stage, vm);
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('the newest points are kept, and are exact', async () => {
    const made: PointAnswer[] = [];
    for (let count = 0; count < KEPT + 1; count++) made.push(await writeAndReplicate(MIB));
    const kept = await archive.requireAllExact(protection);
    assert.deepEqual(
      kept.map(({ id }) => id),
      made.slice(-KEPT).map(({ id }) => id),
    );
    await stage.requireNothingLeft(protection);
  });

  test('a merge whose program is killed is done over', async () => {
    const { run, commit } = await catchMerge();
    killIfAlive(commit);
    process.kill(commit, 'SIGCONT');
    const operation = await stage.settled(run);
    assert.equal(operation.state, 'succeeded', describe(operation));
    await keepNewest();
    await requireMerged();
  });

  test('a merge is killed together with the server, and goes on with it', async () => {
    const { id } = await stage.replica(protection);
    const { run, commit, previous } = await catchMerge();
    await stage.server.kill9();
    killIfAlive(commit);
    await waitForExit(commit);
    await requireKeptExact(id, previous);
    await stage.server.restart();
    const operation = await stage.settled(run);
    assert.equal(operation.state, 'succeeded', describe(operation));
    await keepNewest();
    await requireMerged();
  });

  /** Begins a run whose retention merges much, and stops the merging program when it is at work. */
  async function catchMerge(): Promise<Caught> {
    // The point before it goes, so its layer becomes part of the base.
    const previous = await writeAndReplicate(96 * MIB);
    await write(MIB);
    const seen = new Set(commits());
    const { id } = await stage.beginReplicate(protection);
    const commit = await until(
      'qemu-img merges a layer',
      () => {
        const pid = commits().find((candidate) => !seen.has(candidate));
        if (pid !== undefined) process.kill(pid, 'SIGSTOP');
        return pid;
      },
      { pauseMs: 0 },
    );
    return { run: id, commit, previous };
  }

  function commits(): readonly number[] {
    return listProcesses().filter((pid) => {
      const args = commandLineOf(pid);
      const isCommit = args[0]?.endsWith('qemu-img') === true && args[1] === 'commit';
      return isCommit && args.some((argument) => argument.includes(`${stage.storageFolder}/`));
    });
  }

  async function write(length: number): Promise<void> {
    round += 1;
    await vm.write('vda', { offset: round * MIB, length, value: round });
  }

  async function writeAndReplicate(length: number): Promise<PointAnswer> {
    await write(length);
    const point = await stage.replicate(protection);
    await archive.keep(point);
    return point;
  }

  async function keepNewest(): Promise<void> {
    const newest = (await stage.points(protection)).at(-1);
    assert.ok(newest);
    await archive.keep(newest);
  }

  /** While no server can be asked: the points as their files name them. The newest is what the VM holds. */
  async function requireKeptExact(replicaId: string, previous: PointAnswer): Promise<void> {
    const folder = join(stage.storageFolder, replicaId);
    const files = (await readdir(join(folder, 'points'))).filter((name) => name.endsWith('.json'));
    assert.equal(files.length, KEPT);
    for (const name of files) {
      const { disks } = pointFile.parse(
        JSON.parse(await readFile(join(folder, 'points', name), 'utf8')),
      );
      const [disk] = disks;
      assert.ok(disk);
      const path = join(folder, 'layers', disk.layerId, 'vda.qcow2');
      const isPrevious = name.startsWith(previous.id);
      const expected = isPrevious ? archive.expected(previous).get('vda') : vm.expected('vda');
      assert.ok(expected);
      await requireSameContent(expected, { path, format: 'qcow2' });
    }
  }

  async function requireMerged(): Promise<void> {
    const next = await writeAndReplicate(MIB);
    const kept = await archive.requireAllExact(protection);
    assert.equal(kept.length, KEPT);
    assert.equal(kept.at(-1)?.id, next.id);
    const { id } = await stage.replica(protection);
    const layers = await readdir(join(stage.storageFolder, id, 'layers'));
    assert.deepEqual(
      layers.toSorted(),
      kept.flatMap(({ disks }) => disks.map(({ layerId }) => layerId)).toSorted(),
    );
    await stage.requireNothingLeft(protection);
  }
});

type Caught = { readonly run: string; readonly commit: number; readonly previous: PointAnswer };

const pointFile = z.object({ disks: z.array(z.object({ layerId: z.string() })) });
