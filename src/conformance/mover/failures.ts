import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import type { MoveOptions, TransferProgress, TransferRequest } from '../../ports/mover.ts';
import {
  type DiskSpec,
  type Fills,
  type MoverTest,
  NEVER,
  reading,
  rejects,
  requestOf,
  type ServedDisk,
  SIZE_BYTES,
} from './harness.ts';

/** All 40 blocks. */
const FULL: Fills = Object.fromEntries(
  Array.from({ length: 40 }, (_, index) => [index, index + 1]),
);
const SOURCE: DiskSpec = { sizeBytes: SIZE_BYTES, blocks: FULL };
const TARGET: DiskSpec = { sizeBytes: SIZE_BYTES, isWritable: true };

export function failureTests(test: MoverTest): void {
  function transfer(request: TransferRequest, options: MoveOptions = NEVER) {
    const harness = test.harness();
    return harness.settled(harness.mover.transfer(request, options));
  }

  /** A transfer between two disks, of which one may be not as it should be. */
  async function between(source: DiskSpec, target: DiskSpec, changes?: Partial<TransferRequest>) {
    await using from = await test.harness().serve(source);
    await using to = await test.harness().serve(target);
    await transfer(requestOf(test, { source: from, target: to }, changes));
  }

  it('keeps the pace that it is given, and tells how far it is', async () => {
    await using source = await test.harness().serve(SOURCE);
    await using target = await test.harness().serve(TARGET);
    const seen: TransferProgress[] = [];
    const onProgress = (progress: TransferProgress) => seen.push(progress);
    // Two seconds' worth.
    const bytesPerSecondMax = Math.ceil(SIZE_BYTES / 2);
    const request = requestOf(test, { source, target }, { bytesPerSecondMax });
    const { durationMs } = await transfer(request, { ...NEVER, onProgress });
    assert.deepEqual(await target.read(), reading(FULL));
    // What is in flight at the end may be owed: no more than half of it.
    assert.ok(durationMs > 900, `${durationMs} ms`);
    assert.ok(seen.length > 0, 'somebody who waits for seconds is told something');
    for (const [index, { doneBytes, totalBytes, sentBytes, remainingMs }] of seen.entries()) {
      const before = seen[index - 1];
      assert.ok(doneBytes >= (before?.doneBytes ?? 0) && sentBytes >= (before?.sentBytes ?? 0));
      assert.ok(doneBytes <= totalBytes && totalBytes < SIZE_BYTES + BLOCK_BYTES);
      assert.ok(sentBytes <= SIZE_BYTES && (remainingMs === null || remainingMs >= 0));
    }
  });

  it('does nothing that was aborted before', async () => {
    await using source = await test.harness().serve(SOURCE);
    await using target = await test.harness().serve(TARGET);
    const harness = test.harness();
    const aborted = { signal: AbortSignal.abort() };
    const { endpoint } = source;
    const hashesPath = await harness.hashTable(SIZE_BYTES, FULL);
    const common = { endpoint, sizeBytes: SIZE_BYTES };
    const by = { type: 'compared', hashesPath } as const;
    await rejects('cancelled', transfer(requestOf(test, { source, target }), aborted));
    await rejects(
      'cancelled',
      harness.settled(harness.mover.verify({ ...common, hashesPath }, aborted)),
    );
    await rejects('cancelled', harness.settled(harness.mover.survey({ ...common, by }, aborted)));
    assert.deepEqual(await target.read(), reading());
  });

  it('ends at an abort, and goes through when it is asked again', async () => {
    await using source = await test.harness().serve(SOURCE);
    await using target = await test.harness().serve(TARGET);
    const aborting = new AbortController();
    const onProgress = () => aborting.abort();
    // A minute's worth: only the abort ends it.
    const bytesPerSecondMax = Math.ceil(SIZE_BYTES / 60);
    const request = requestOf(test, { source, target }, { bytesPerSecondMax });
    await rejects('cancelled', transfer(request, { signal: aborting.signal, onProgress }));
    await transfer({ ...request, bytesPerSecondMax: null });
    assert.deepEqual(await target.read(), reading(FULL));
    const records = await test.harness().records(request.recordsPath ?? '', SIZE_BYTES);
    assert.deepEqual(
      records,
      reading(FULL).map((fill, index) => [index, fill]),
    );
  });

  const SMALL = SIZE_BYTES - BLOCK_BYTES;
  const LARGE = SIZE_BYTES + BLOCK_BYTES;
  const unfit: readonly (readonly [string, DiskSpec, DiskSpec, ErrorCode])[] = [
    ['a source that is too small', { sizeBytes: SMALL }, TARGET, 'invalid-endpoint'],
    ['a source that is too large', { sizeBytes: LARGE }, TARGET, 'invalid-endpoint'],
    [
      'a target that is too small',
      SOURCE,
      { sizeBytes: SMALL, isWritable: true },
      'invalid-endpoint',
    ],
    ['a target that is read-only', SOURCE, { sizeBytes: SIZE_BYTES }, 'invalid-endpoint'],
    ['a target that is full', SOURCE, { ...TARGET, isFull: true }, 'target-full'],
  ];
  for (const [what, source, target, code] of unfit) {
    it(`gives up on ${what}: ${code}`, () => rejects(code, between(source, target)));
  }

  it('takes a target that is larger', async () => {
    await between(SOURCE, { sizeBytes: LARGE, isWritable: true });
  });

  it('knows no mark but those that are there', async () => {
    const extents = { type: 'changed', metaContext: 'qemu:dirty-bitmap:nobodys' } as const;
    await rejects('invalid-endpoint', between(SOURCE, TARGET, { extents }));
    const harness = test.harness();
    await using disk = await harness.serve(SOURCE);
    const request = { endpoint: disk.endpoint, sizeBytes: SIZE_BYTES, by: extents };
    await rejects('invalid-endpoint', harness.settled(harness.mover.survey(request, NEVER)));
  });

  it('looks only at disks that are large enough', async () => {
    const harness = test.harness();
    await using disk = await harness.serve({ sizeBytes: SMALL, changed: [] });
    const { endpoint, metaContext } = disk;
    const hashesPath = await harness.hashTable(SIZE_BYTES, {});
    const common = { endpoint, sizeBytes: SIZE_BYTES };
    const verification = harness.mover.verify({ ...common, hashesPath }, NEVER);
    await rejects('invalid-endpoint', harness.settled(verification));
    for (const by of [
      { type: 'changed', metaContext },
      { type: 'compared', hashesPath },
    ] as const) {
      const survey = harness.mover.survey({ ...common, by }, NEVER);
      await rejects('invalid-endpoint', harness.settled(survey));
    }
  });

  it('says connection-lost where nobody answers, whatever is asked', async () => {
    const harness = test.harness();
    await using disk = await harness.serve({ ...TARGET, changed: [] });
    const nobody: Pick<ServedDisk, 'endpoint'> = { endpoint: harness.nobody() };
    const gone = { ...disk, ...nobody };
    const hashesPath = await harness.hashTable(SIZE_BYTES, FULL);
    const common = { ...nobody, sizeBytes: SIZE_BYTES };
    const by = { type: 'changed', metaContext: disk.metaContext } as const;
    await rejects('connection-lost', transfer(requestOf(test, { source: gone, target: disk })));
    await rejects('connection-lost', transfer(requestOf(test, { source: disk, target: gone })));
    const verification = harness.mover.verify({ ...common, hashesPath }, NEVER);
    await rejects('connection-lost', harness.settled(verification));
    await rejects(
      'connection-lost',
      harness.settled(harness.mover.survey({ ...common, by }, NEVER)),
    );
  });
}
