/** What the tests of the way home have in common: what a stand-in must hold, and a count of what differs by a reader of its own. */
import assert from 'node:assert/strict';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  type OperationDetailAnswer,
  seenOperationSchema,
} from '../../../src/contract/operation.ts';
import type { ReplicaAnswer } from '../../../src/contract/replica.ts';
import { run } from '../../../src/rig/command.ts';
import type { PrivateHost } from '../../../src/rig/private-host.ts';
import { until } from '../../../src/rig/until.ts';
import { BLOCK, type Write, writeExpected } from './block-vm.ts';
import { type Image, requireSameContent } from './bytes.ts';
import { writeReplica } from './life.ts';
import type { Stage } from './open-stage.ts';
import { describe, type Protection } from './operator.ts';

/** A replica that serves, and plain files that receive the same writes. */
export interface StandIn {
  write(key: string, ...writes: readonly Write[]): Promise<void>;
  readonly expected: ReadonlyMap<string, Image>;
  /** Its disks; to be read once it is off, or with what QEMU has not flushed yet missing. */
  branch(key: string): Image;
}

/** `held`: what is on the disks of the restore point that it stands on; nothing was written since. */
export async function standInOf(
  stage: Pick<Stage, 'recovery' | 'storageFolder'>,
  replica: ReplicaAnswer,
  held: ReadonlyMap<string, Image>,
  folder: string,
): Promise<StandIn> {
  await mkdir(folder, { recursive: true });
  const expected = new Map<string, Image>();
  for (const [key, { path: from }] of held) {
    const path = join(folder, `${key}.raw`);
    await run('cp', ['--sparse=always', '--', from, path]);
    expected.set(key, { path, format: 'raw' });
  }
  return {
    expected,
    async write(key, ...writes) {
      for (const write of writes) {
        await writeReplica(stage, replica, key, write);
        await writeExpected(expected.get(key)?.path ?? '', write);
      }
    },
    branch(key) {
      const { id, failover } = replica;
      const name = failover?.branchId ?? '';
      const path = join(stage.storageFolder, id, 'branches', name, `${key}.qcow2`);
      return { path, format: 'qcow2' };
    },
  };
}

/** The files that a VM's disks are now, by key. */
export async function diskImages(host: PrivateHost, vmId: string): Promise<Map<string, Image>> {
  const rows = await host.virsh(['domblklist', '--details', '--domain', vmId]);
  const images = new Map<string, Image>();
  for (const row of rows.split('\n')) {
    const [, key, path] = /^\s*file\s+disk\s+(\S+)\s+(\S.*\S)\s*$/.exec(row) ?? [];
    if (key !== undefined && path !== undefined) images.set(key, { path, format: 'qcow2' });
  }
  return images;
}

/** In blocks of 64 KiB, of two images of one size; null: an image of zeros. Reads all of both. */
export async function differingBytes(one: Image | null, two: Image): Promise<number> {
  const [a, b] = await Promise.all([one === null ? null : rawOf(one), rawOf(two)]);
  try {
    return await countDiffering(a, b);
  } finally {
    for (const copy of [a, b]) if (copy !== null) await rm(copy, { force: true });
  }
}

let copies = 0;

async function rawOf({ path, format }: Image): Promise<string> {
  copies += 1;
  const copy = `${path}.${copies}.counted`;
  await run('qemu-img', ['convert', '-U', '-f', format, '-O', 'raw', '--', path, copy]);
  return copy;
}

async function countDiffering(one: string | null, two: string): Promise<number> {
  await using a = one === null ? null : await open(one);
  await using b = await open(two);
  const { size } = await b.stat();
  if (a !== null) assert.equal((await a.stat()).size, size);
  const [left, right] = [Buffer.alloc(BLOCK), Buffer.alloc(BLOCK)];
  let bytes = 0;
  for (let at = 0; at < size; at += BLOCK) {
    await a?.read(left, 0, BLOCK, at);
    await b.read(right, 0, BLOCK, at);
    if (!left.equals(right)) bytes += BLOCK;
  }
  return bytes;
}

/** Production is byte for byte what the stand-in was, both as the test wrote it and as its branch holds it. */
export async function requireTookOver(
  host: PrivateHost,
  vmId: string,
  standIn: StandIn,
): Promise<void> {
  const disks = await diskImages(host, vmId);
  assert.deepEqual([...disks.keys()].toSorted(), [...standIn.expected.keys()].toSorted());
  for (const [key, expected] of standIn.expected) {
    const disk = disks.get(key);
    assert.ok(disk);
    await requireSameContent(expected, disk);
    await requireSameContent(standIn.branch(key), disk);
  }
}

/** Until a switchover that nobody ordered has taken place. @returns it, and the replica as it is then. */
export async function untilSwitched(
  { ask, settled, replica }: Pick<Stage, 'ask' | 'settled' | 'replica'>,
  protection: Protection,
): Promise<{ readonly operation: OperationDetailAnswer; readonly replica: ReplicaAnswer }> {
  const { id, failback } = await replica(protection);
  assert.ok(failback, 'a failback is under way');
  const list = ['operation', 'list', '--kind', 'switch-over', '--subject', id];
  const begun = await until('a switchover begins', async () =>
    (await ask(list, z.array(seenOperationSchema))).find(
      ({ createdAt }) => createdAt >= failback.startedAt,
    ),
  );
  const operation = await settled(begun.id);
  assert.equal(operation.state, 'succeeded', describe(operation));
  return { operation, replica: await replica(protection) };
}

export function sentBytesOf({ result }: OperationDetailAnswer): number {
  return z.looseObject({ sentBytes: z.number() }).parse(result).sentBytes;
}

/** As the issue demands it of every failback. */
export const MOVED_LIMIT = 1.1;
