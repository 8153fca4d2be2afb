/**
 * What every source of frozen instants must do, whatever the hypervisor: the frozen view stands still, what changed since
 * a mark is never too little, a lost mark is said and never guessed, and the guest does not notice.
 *
 * The harness is a VM whose guest writes on command, one block of one value at a time, and a reader of endpoints.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { BLOCK_BYTES } from '../domain/bytes.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import {
  type DiskKey,
  type MarkName,
  markName,
  type OperationKey,
  operationId,
  operationKey,
  type VmId,
  vmId,
} from '../domain/ids.ts';
import type { ScratchPolicy } from '../domain/job/job.ts';
import type { PowerState } from '../domain/vm/vm.ts';
import type { FreezeRequest, FrozenDisk, FrozenPoint, PointSource } from '../ports/point-source.ts';

/** A VM with three empty disks of at least 256 blocks, off. */
export interface SourceVm {
  readonly id: VmId;
  /** Two disks that track changes, and one that does not. */
  readonly disks: { readonly first: DiskKey; readonly second: DiskKey; readonly raw: DiskKey };
  /** The guest fills a block, or so many from there, with a value from 1 to 255; the VM runs. */
  write(disk: DiskKey, block: number, value: number, blocks?: number): Promise<void>;
  start(): Promise<void>;
  /** Off as after an orderly shutdown of its process: marks are kept. */
  stop(): Promise<void>;
  /** Off as after a crash of its process: marks of that run are void. */
  crash(): Promise<void>;
  power(): Promise<PowerState>;
  /** Somebody else's mark; the VM runs. */
  setForeignMark(name: string): Promise<void>;
  /** The names of all marks, whoever's. */
  marks(): Promise<readonly string[]>;
  /** As the host does it. */
  remove(): Promise<void>;
}

export interface PointSourceHarness extends AsyncDisposable {
  readonly pointSource: PointSource;
  makeVm(): Promise<SourceVm>;
  /** The value that fills a block of a frozen disk; 0 for zeros. */
  read(disk: FrozenDisk, block: number): Promise<number>;
  /** The blocks that its extent selection names, ascending. */
  selected(disk: FrozenDisk): Promise<readonly number[]>;
  /** Waits for a call; a harness in virtual time lets it pass meanwhile. */
  settled<Result>(call: Promise<Result>): Promise<Result>;
}

const ROOMY: ScratchPolicy = { quotaBytes: null, reserveBytes: 0, deadlineMs: 3_600_000 };
const ABSENT = vmId('00000000-0000-4000-8000-00000000dead');

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function pointSourceSuite(
  name: string,
  start: () => Promise<PointSourceHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  describe(`${name} as a source of frozen instants`, { skip }, () => {
    const { signal } = new AbortController();
    let harness: PointSourceHarness;
    let vm: SourceVm;
    let keys: OperationKey[];
    let serial = 0;
    before(async () => {
      harness = await start();
    });
    after(() => harness?.[Symbol.asyncDispose]());
    beforeEach(async () => {
      keys = [];
      vm = await harness.makeVm();
      await vm.start();
    });
    afterEach(async () => {
      for (const key of keys) await end(key);
      await vm.remove();
    });

    type Changes = Partial<FreezeRequest> & { readonly since?: Readonly<Record<string, MarkName>> };

    function requestOf(mark: string, changes: Changes = {}): FreezeRequest {
      serial += 1;
      const { first, second, raw } = vm.disks;
      const request: FreezeRequest = {
        key: operationKey(operationId(`op-${serial}`), 'freeze'),
        vmId: vm.id,
        disks: [first, second, raw],
        mark: markName(mark),
        since: {},
        quiesce: 'never',
        scratch: ROOMY,
        ...changes,
      };
      keys.push(request.key);
      return request;
    }

    const freeze = (request: FreezeRequest): Promise<FrozenPoint> =>
      harness.settled(harness.pointSource.freeze(request, { signal }));
    const end = (key: OperationKey): Promise<void> =>
      harness.settled(harness.pointSource.end({ key, vmId: vm.id }, { signal }));
    const endAll = (id: VmId): Promise<void> =>
      harness.settled(harness.pointSource.endAll(id, { signal }));
    const check = (key: OperationKey) =>
      harness.settled(harness.pointSource.check({ key, vmId: vm.id }, { signal }));
    const sweep = (...keep: readonly string[]): Promise<void> =>
      harness.settled(
        harness.pointSource.sweepMarks({ vmId: vm.id, keep: keep.map(markName) }, { signal }),
      );

    /** A whole cycle that was sealed: frozen, read, ended, older marks swept. */
    async function sealed(mark: string, changes: Changes = {}): Promise<FrozenPoint> {
      const request = requestOf(mark, changes);
      const point = await freeze(request);
      await end(request.key);
      await sweep(mark);
      return point;
    }

    /** Each tracked disk relative to that mark. */
    function since(mark: string): Readonly<Record<string, MarkName>> {
      const { first, second } = vm.disks;
      return { [first]: markName(mark), [second]: markName(mark) };
    }

    it('holds one instant of all disks still while the guest writes on', async () => {
      const { first, second, raw } = vm.disks;
      for (const disk of [first, second, raw]) await vm.write(disk, 3, 7);
      const request = requestOf('us-1');
      const point = await freeze(request);
      for (const disk of [first, second, raw]) {
        await vm.write(disk, 3, 9);
        await vm.write(disk, 4, 9);
      }
      for (const disk of point.disks) {
        assert.deepEqual([await harness.read(disk, 3), await harness.read(disk, 4)], [7, 0]);
        const selected = await harness.selected(disk);
        // What tracks no changes may call more allocated than was written.
        assert.ok(selected.includes(3) && (selected.length === 1 || !disk.tracksChanges));
        assert.ok(disk.sizeBytes >= 256 * BLOCK_BYTES);
      }
      assert.equal(await vm.power(), 'running');
      assert.deepEqual(await check(request.key), { isIntact: true, because: null });
      assert.equal(point.consistency, 'crash');
      assert.equal(point.consistencyNote, null);
      assert.equal(point.vm.id, vm.id);
      assert.deepEqual(
        point.disks.map(({ key, mark, tracksChanges }) => [key, mark, tracksChanges]),
        [
          [first, 'us-1', true],
          [second, 'us-1', true],
          [raw, null, false],
        ],
      );
    });

    it('names every block that changed since the mark, and no other', async () => {
      const { first, second } = vm.disks;
      await vm.write(first, 1, 1);
      await sealed('us-1');
      await vm.write(first, 5, 5);
      await vm.write(first, 200, 6);
      const point = await freeze(requestOf('us-2', { since: since('us-1') }));
      const [one, two] = point.disks;
      assert.ok(one !== undefined && two !== undefined);
      assert.equal(two.key, second);
      assert.deepEqual(one.found, { type: 'changed', since: 'us-1' });
      assert.deepEqual(await harness.selected(one), [5, 200]);
      assert.deepEqual(await harness.selected(two), []);
      assert.deepEqual([await harness.read(one, 1), await harness.read(one, 5)], [1, 5]);
    });

    it('keeps what a cycle saw that was given up: the next one has it all', async () => {
      const { first } = vm.disks;
      await sealed('us-1');
      await vm.write(first, 10, 1);
      const given = requestOf('us-2', { since: since('us-1') });
      await freeze(given);
      await vm.write(first, 11, 1);
      await end(given.key);
      await vm.write(first, 12, 1);
      await sweep('us-1');
      await vm.write(first, 13, 1);
      const point = await freeze(requestOf('us-3', { since: since('us-1') }));
      const [disk] = point.disks;
      assert.ok(disk !== undefined);
      assert.deepEqual(await harness.selected(disk), [10, 11, 12, 13]);
    });

    it('answers the same point to the same key, and ends it once or often', async () => {
      const request = requestOf('us-1');
      const point = await freeze(request);
      assert.deepEqual(await freeze(request), point);
      await end(request.key);
      await end(request.key);
      assert.equal((await check(request.key)).isIntact, false);
      // Ended, it is gone: the same key begins anew, and its mark may be there from before.
      const again = await freeze(request);
      assert.equal(again.disks[0]?.mark, 'us-1');
      for (const _ of ['whatever its key', 'and none']) await endAll(vm.id);
      assert.equal((await check(request.key)).isIntact, false);
    });

    it("removes our marks but those that count, and nobody else's", async () => {
      const { first } = vm.disks;
      await vm.setForeignMark('theirs');
      for (const mark of ['us-0', 'us-1', 'us-2', 'us-3']) {
        const request = requestOf(mark);
        await freeze(request);
        await end(request.key);
        await vm.write(first, Number(mark.at(-1)), 1);
      }
      await sweep('us-0', 'us-2');
      assert.deepEqual([...(await vm.marks())].sort(), ['theirs', 'us-0', 'us-2']);
      await sweep('us-0', 'us-2');
      for (const [mark, changed] of [
        ['us-2', [2, 3]],
        ['us-0', [0, 1, 2, 3]],
      ] as const) {
        const request = requestOf(`us-4-${mark}`, { since: since(mark) });
        const [disk] = (await freeze(request)).disks;
        assert.ok(disk !== undefined);
        assert.deepEqual(await harness.selected(disk), changed);
        await end(request.key);
      }
      await sweep();
      assert.deepEqual(await vm.marks(), ['theirs']);
    });

    it('says that a mark was lost, and reads by allocation what lost it', async () => {
      const { first } = vm.disks;
      await vm.write(first, 8, 1);
      await sealed('us-1');
      await vm.crash();
      await vm.start();
      const request = requestOf('us-2', { since: since('us-1') });
      const point = await freeze(request);
      for (const disk of point.disks) {
        assert.equal(disk.found.type, 'allocated');
        assert.deepEqual(disk.extents, { type: 'allocated' });
      }
      const [disk] = point.disks;
      assert.ok(disk?.found.type === 'allocated' && disk.found.markLostBecause !== null);
      assert.deepEqual(await harness.selected(disk), [8]);
      await end(request.key);
      await sweep('us-2');
      await vm.write(first, 9, 1);
      const next = await freeze(requestOf('us-3', { since: since('us-2') }));
      assert.deepEqual(await harness.selected(next.disks[0] as FrozenDisk), [9]);
      assert.deepEqual([...(await vm.marks())].sort(), ['us-2', 'us-3']);
    });

    it('reads a VM that is off, incrementally over stops and starts', async () => {
      const { first } = vm.disks;
      await vm.write(first, 20, 2);
      await sealed('us-1');
      await vm.write(first, 21, 3);
      await vm.stop();
      const request = requestOf('us-2', { since: since('us-1') });
      const point = await freeze(request);
      const [disk] = point.disks;
      assert.ok(disk !== undefined);
      assert.deepEqual(await harness.selected(disk), [21]);
      assert.deepEqual([await harness.read(disk, 20), await harness.read(disk, 21)], [2, 3]);
      assert.deepEqual(await freeze(request), point);
      assert.deepEqual(await check(request.key), { isIntact: true, because: null });
      await end(request.key);
      await sweep('us-2');
      assert.deepEqual(await vm.marks(), ['us-2']);
      await vm.start();
      await vm.write(first, 22, 4);
      const next = await freeze(requestOf('us-3', { since: since('us-2') }));
      assert.deepEqual(await harness.selected(next.disks[0] as FrozenDisk), [22]);
    });

    it('never stands in the way of a start, and says that the instant is spoilt by it', async () => {
      const { first } = vm.disks;
      await sealed('us-1');
      await vm.stop();
      const request = requestOf('us-2', { since: since('us-1') });
      await freeze(request);
      await vm.start();
      assert.equal(await vm.power(), 'running');
      await vm.write(first, 30, 1);
      const answer = await check(request.key);
      assert.equal(answer.isIntact, false);
      assert.notEqual(answer.because, null);
      await end(request.key);
      await sweep('us-1');
      const next = await freeze(requestOf('us-3', { since: since('us-1') }));
      assert.deepEqual(await harness.selected(next.disks[0] as FrozenDisk), [30]);
    });

    it('watches in peace until told to stop, and says when the freeze is gone', async () => {
      const request = requestOf('us-1');
      const point = await freeze(request);
      const stop = new AbortController();
      const watched = watch(request, point, stop.signal);
      stop.abort();
      await harness.settled(watched);
      await vm.crash();
      await rejects('freeze-failed', harness.settled(watch(request, point, signal)));
    });

    it('gives up at its quota or deadline, while the guest goes on', async () => {
      const { first, second } = vm.disks;
      const scratch = { ...ROOMY, quotaBytes: 8 * 1024 * 1024 };
      await vm.write(first, 0, 1, 128);
      const request = requestOf('us-1', { scratch });
      const point = await freeze(request);
      await vm.write(first, 0, 2, 128);
      await rejects('scratch-exhausted', harness.settled(watch(request, point, signal)));
      assert.equal(await vm.power(), 'running');
      await end(request.key);
      await vm.write(second, 0, 1);

      const short = requestOf('us-2', { scratch: { ...ROOMY, deadlineMs: 300 } });
      const next = await freeze(short);
      await rejects('scratch-exhausted', harness.settled(watch(short, next, signal)));
      assert.equal(await vm.power(), 'running');
    });

    it('ends what is not there, and misses a VM that is not', async () => {
      const { pointSource } = harness;
      const key = operationKey(operationId('op-absent'), 'freeze');
      await end(key);
      await harness.settled(pointSource.end({ key, vmId: ABSENT }, { signal }));
      await endAll(ABSENT);
      const request = { ...requestOf('us-1'), vmId: ABSENT };
      await rejects('vm-missing', freeze(request));
    });

    function watch(request: FreezeRequest, point: FrozenPoint, until: AbortSignal): Promise<void> {
      const { key, scratch } = request;
      const command = { key, vmId: vm.id, scratch, frozenAt: point.takenAt };
      return harness.pointSource.watch(command, { signal: until });
    }
  });
}

async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
