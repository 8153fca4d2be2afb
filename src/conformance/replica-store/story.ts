/**
 * One replica told step by step, beside a model of what every point must read. The model is arrays of bytes, one
 * per 64 KiB block, and computes roots from nothing but those: it shares no code with any store.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { BLOCK_BYTES, blockCount } from '../../domain/bytes.ts';
import {
  type BranchId,
  branchId,
  type DiskKey,
  diskKey,
  operationId,
  operationKey,
  type PointId,
  pointId,
  type ReplicaId,
  replicaId,
  vmId,
} from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { OpenPartialDisk, ReplicaStore, UnsealedPoint } from '../../ports/replica-store.ts';
import type { BlockFills, ReplicaStoreHarness } from '../replica-store.ts';

export type StoreTest = { readonly createHarness: () => Promise<ReplicaStoreHarness> };

export const REPLICA: ReplicaId = replicaId('rep-conformance');
export const NEVER = { signal: new AbortController().signal };

/** What one disk of a point to come is made of. */
export type DiskPlan = {
  readonly sizeBlocks: number;
  readonly base: 'parent' | 'none';
  readonly writes: BlockFills;
  readonly wantsKnownHashes?: boolean;
};
export type PointPlan = Readonly<Record<string, DiskPlan>>;

/** Disk → the byte of each block. */
type Content = ReadonlyMap<DiskKey, readonly number[]>;

export class Story {
  readonly harness: ReplicaStoreHarness;
  /** Of the points that must be there. */
  readonly content = new Map<PointId, Content>();
  /** Of every point that ever was. */
  readonly #history = new Map<PointId, Content>();
  store: ReplicaStore;
  epoch = 1;
  #commands = 0;
  #sealed = 0;

  private constructor(harness: ReplicaStoreHarness, store: ReplicaStore) {
    this.harness = harness;
    this.store = store;
  }

  static async begin(harness: ReplicaStoreHarness): Promise<Story> {
    const story = new Story(harness, await harness.open());
    await story.store.createReplica({ ...story.command(), name: 'a vm' }, NEVER);
    return story;
  }

  /** The store's process died, and another one took over its storage. */
  async reopen(): Promise<void> {
    this.store = await this.harness.open();
  }

  command() {
    this.#commands += 1;
    const key = operationKey(operationId('op-1'), `step-${this.#commands}`);
    return { key, replicaId: REPLICA, epoch: this.epoch };
  }

  async open(
    id: PointId,
    parent: PointId | null,
    plan: PointPlan,
    more: { readonly mayBranchOff?: true } = {},
  ) {
    const disks = Object.entries(plan).map(([key, { sizeBlocks, base, wantsKnownHashes }]) => ({
      key: diskKey(key),
      sizeBytes: sizeBlocks * BLOCK_BYTES,
      base,
      wantsKnownHashes: wantsKnownHashes ?? false,
    }));
    const request = { ...this.command(), pointId: id, parentPointId: parent, disks, ...more };
    return await this.store.openPartial(request, NEVER);
  }

  async fill(opened: readonly OpenPartialDisk[], plan: PointPlan): Promise<void> {
    for (const disk of opened) {
      const { base, writes } = diskPlan(plan, disk.key);
      await this.harness.write(disk, writes, base === 'none' ? 'zeros' : 'parent');
    }
  }

  async seal(
    id: PointId,
    parent: PointId | null,
    plan: PointPlan,
    sidecars: readonly Sidecar[] = [],
  ): Promise<RestorePoint> {
    this.#sealed += 1;
    const point = unsealedPoint(id, plan, this.#sealed);
    const sealed = await this.store.sealPartial({ ...this.command(), point, sidecars }, NEVER);
    const content = this.#contentOf(parent, plan);
    this.content.set(id, content);
    this.#history.set(id, content);
    return sealed;
  }

  /** Opens, fills and seals. */
  async replicate(
    name: string,
    parent: PointId | null,
    plan: PointPlan,
    more: { readonly mayBranchOff?: true } = {},
  ): Promise<RestorePoint> {
    const id = pointId(name);
    await this.fill(await this.open(id, parent, plan, more), plan);
    return await this.seal(id, parent, plan);
  }

  async retire(id: PointId): Promise<void> {
    await this.store.retirePoint({ ...this.command(), pointId: id }, NEVER);
    this.content.delete(id);
  }

  async tidy(): Promise<void> {
    await this.store.tidy(this.command(), NEVER);
  }

  async branch(name: string, point: PointId) {
    const id = branchId(name);
    const command = { ...this.command(), branchId: id, pointId: point };
    return { id, ...(await this.store.createBranch(command, NEVER)) };
  }

  /** Exactly the points of the model are there, each reads as it must, and its roots say so. */
  async assertPoints(): Promise<void> {
    const points = await this.store.points(REPLICA, NEVER);
    const listed = points.map(({ id }) => id).toSorted();
    assert.deepEqual(listed, [...this.content.keys()].toSorted(), 'points that are listed');
    for (const point of points) await this.assertPoint(point);
  }

  async assertPoint(point: RestorePoint): Promise<void> {
    const content = this.content.get(point.id);
    assert.ok(content, `point ${point.id} is known`);
    const command = this.command();
    const reading = { ...command, of: { pointId: point.id } };
    const disks = await this.store.openReading(reading, NEVER);
    assert.deepEqual(disks.map(({ key }) => key).toSorted(), [...content.keys()].toSorted());
    for (const disk of disks) {
      const wanted: readonly number[] = content.get(disk.key) ?? [];
      const what = `${disk.key} of ${point.id}`;
      assert.equal(disk.sizeBytes, wanted.length * BLOCK_BYTES, `size of ${what}`);
      assert.deepEqual(await this.harness.read(disk.endpoint, disk.sizeBytes), wanted, what);
      assert.ok(disk.hashesPath !== null, `${what} has hashes`);
      assert.deepEqual(await this.harness.hashes(disk.hashesPath), hashesOf(wanted), what);
      const recorded = point.disks.find(({ key }) => key === disk.key);
      assert.equal(recorded?.rootHash, diskRoot(wanted).toString('hex'), `root of ${what}`);
    }
    assert.equal(point.rootHash, pointRoot(content), `root of ${point.id}`);
    await this.store.closeReading(command, NEVER);
  }

  async readBranch(id: BranchId, key: string): Promise<readonly number[]> {
    const command = this.command();
    const disks = await this.store.openReading({ ...command, of: { branchId: id } }, NEVER);
    const disk = disks.find((each) => each.key === key);
    assert.ok(disk, `branch ${id} has disk ${key}`);
    assert.equal(disk.hashesPath, null);
    const fills = await this.harness.read(disk.endpoint, disk.sizeBytes);
    await this.store.closeReading(command, NEVER);
    return fills;
  }

  contentOf(id: PointId, key: string): readonly number[] {
    return this.#history.get(id)?.get(diskKey(key)) ?? [];
  }

  #contentOf(parent: PointId | null, plan: PointPlan): Content {
    const entries = Object.entries(plan).map(([name, { sizeBlocks, base, writes }]) => {
      const key = diskKey(name);
      const below = parent === null || base === 'none' ? [] : this.contentOf(parent, key);
      const fills = Array.from({ length: sizeBlocks }, (_, i) => writes.get(i) ?? below[i] ?? 0);
      return [key, fills] as const;
    });
    return new Map(entries);
  }
}

function diskPlan(plan: PointPlan, key: string): DiskPlan {
  const found = plan[key];
  assert.ok(found, `disk ${key} was asked for`);
  return found;
}

/** A test about one replica, on storage of its own. */
export function storyTest(
  suite: StoreTest,
  name: string,
  run: (story: Story) => Promise<void>,
): void {
  test(name, async () => {
    await using harness = await suite.createHarness();
    await run(await Story.begin(harness));
  });
}

export function unsealedPoint(id: PointId, plan: PointPlan, ordinal: number): UnsealedPoint {
  return {
    id,
    takenAt: instant(1_700_000_000_000 + ordinal * 60_000),
    sealedAt: instant(1_700_000_000_500 + ordinal * 60_000),
    consistency: 'crash',
    disks: Object.entries(plan).map(([key, { sizeBlocks, base }]) => ({
      key: diskKey(key),
      sizeBytes: sizeBlocks * BLOCK_BYTES,
      transfer: base === 'none' ? 'full' : 'incremental',
      because: 'the test says so',
      sentBytes: 0,
      mark: null,
    })),
    vm: VM,
    isPinned: false,
  };
}

const VM: VmDescription = {
  id: vmId('6b1f2c7e-4a55-4f6e-9d0e-2f43a1d6c001'),
  name: `a "vm" with a\nhostile name, and ünïcode`,
  power: 'running',
  memoryBytes: 256 * 1024 * 1024,
  cpuCount: 1,
  disks: [],
  nics: [{ mac: '52:54:00:00:00:01', network: 'network:default', isConnected: true }],
  configuration: { format: 'simulated', text: '<domain/>' },
  hasSavedState: false,
};

/** Block index → hex hash, without zero blocks. */
export function hashesOf(fills: readonly number[]): ReadonlyMap<number, string> {
  const hashes = new Map<number, string>();
  fills.forEach((fill, index) => {
    if (fill !== 0) hashes.set(index, blockHash(fill).toString('hex'));
  });
  return hashes;
}

const blockHashes = new Map<number, Buffer>();

export function blockHash(fill: number): Buffer {
  const known = blockHashes.get(fill);
  if (known !== undefined) return known;
  const hash =
    fill === 0 ? Buffer.alloc(32) : createHash('sha256').update(Buffer.alloc(BLOCK_BYTES, fill));
  const bytes = Buffer.isBuffer(hash) ? hash : hash.digest();
  blockHashes.set(fill, bytes);
  return bytes;
}

/** By the book: every level from every block, nothing remembered. */
export function diskRoot(fills: readonly number[]): Buffer {
  const sizeBytes = fills.length * BLOCK_BYTES;
  let nodes = fills.map(blockHash);
  for (let level = 1; level <= 3; level += 1) {
    const above: Buffer[] = [];
    for (let at = 0; at < Math.max(nodes.length, 1); at += 256) above.push(node(nodes, at));
    nodes = above;
  }
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(sizeBytes));
  const tops = nodes.slice(0, Math.ceil(blockCount(sizeBytes) / 256 ** 3));
  return sha256([Buffer.from('understudy-disk-1'), size, ...tops]);
}

function node(children: readonly Buffer[], at: number): Buffer {
  const hashes = Array.from({ length: 256 }, (_, i) => children[at + i] ?? Buffer.alloc(32));
  return hashes.every((hash) => hash.every((byte) => byte === 0))
    ? Buffer.alloc(32)
    : sha256(hashes);
}

function pointRoot(content: Content): string {
  const keys = [...content.keys()].toSorted();
  const parts = keys.flatMap((key) => [
    Buffer.from(key),
    Buffer.of(0),
    diskRoot(content.get(key) ?? []),
  ]);
  return sha256(parts).toString('hex');
}

function sha256(parts: readonly Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}
