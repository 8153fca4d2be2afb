import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { rangesOf, union } from '../../domain/disk/block-set.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { mapExtents, readRange } from './extents.ts';
import { createMover } from './mover.ts';
import { hashOfBlock, spoolRecords, writeHashTable } from './testing/disk-models.ts';
import { needsQemu } from './testing/mover-harness.ts';
import { run, serveWithQemuNbd, serveWithStorageDaemon } from './testing/nbd-servers.ts';

const skip = needsQemu;

const folder = mkdtempSync(join(tmpdir(), 'understudy-qemu-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const options = { signal: new AbortController().signal };
const mover = createMover({ clock: systemClock() });
const recordsPath = join(folder, 'spool');
const base = {
  key: operationKey(operationId('op'), 'move'),
  knownHashesPath: null,
  recordsPath,
  bytesPerSecondMax: null,
};

/** A sparse raw image with random content at the given MiB. */
function makeRaw(name: string, sizeBytes: number, contentMib: readonly number[]): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const descriptor = openSync(path, 'r+');
  for (const at of contentMib) writeSync(descriptor, randomBytes(MIB), 0, MIB, at * MIB);
  return path;
}

function makeQcow2(name: string, sizeBytes: number, ...more: readonly string[]): string {
  const path = join(folder, name);
  run('qemu-img', 'create', '-q', '-f', 'qcow2', ...more, path, String(sizeBytes));
  return path;
}

for (const serve of [serveWithQemuNbd, serveWithStorageDaemon]) {
  for (const connectionsMax of [8, 1]) {
    const size = 96;
    const title = `a raw disk of ${size} MiB with holes, ${serve.name}, ${connectionsMax} connections`;
    test(title, { skip }, async () => {
      const sizeBytes = size * MIB + 12 * 512;
      const content = Array.from({ length: size }, (_, index) => index).filter(
        (at) => at % 5 !== 2,
      );
      const sourcePath = makeRaw('source.raw', sizeBytes, content);
      const targetPath = makeQcow2('target.qcow2', sizeBytes);
      const common = { folder, connectionsMax };
      await using source = await serve({
        ...common,
        name: 'a',
        imagePath: sourcePath,
        format: 'raw',
        isReadOnly: true,
      });
      const ends = { source: source.endpoint, sizeBytes };
      const target = await serve({
        ...common,
        name: 'b',
        imagePath: targetPath,
        format: 'qcow2',
        isReadOnly: false,
      });
      const extents = { type: 'allocated' } as const;
      const request = {
        ...base,
        ...ends,
        target: target.endpoint,
        extents,
        targetReads: 'zeros' as const,
      };
      const result = await mover.transfer(request, options);
      assert.equal(result.sentBytes, content.length * MIB);
      await target.close();
      run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', sourcePath, targetPath);
      const image = readFileSync(sourcePath);
      writeHashTable(join(folder, 'table'), image);
      const verified = { endpoint: source.endpoint, sizeBytes, hashesPath: join(folder, 'table') };
      const { wrongBlockCount, checkedBytes } = await mover.verify(verified, options);
      assert.equal(wrongBlockCount, 0);
      assert.ok(checkedBytes >= content.length * MIB);
    });
  }
}

test('changes by a dirty bitmap into an overlay, with holes made by discards', {
  skip,
}, async () => {
  const sizeBytes = 32 * MIB;
  const sourcePath = makeQcow2('dirty.qcow2', sizeBytes);
  const write = (...commands: readonly string[]) =>
    run(
      'qemu-io',
      '-f',
      'qcow2',
      '-d',
      'unmap',
      ...commands.flatMap((each) => ['-c', each]),
      sourcePath,
    );
  write('write -P 1 0 8M', 'write -P 2 20M 2M');
  const basePath = join(folder, 'base.qcow2');
  run('qemu-img', 'convert', '-O', 'qcow2', sourcePath, basePath);
  run('qemu-img', 'bitmap', '--add', sourcePath, 'mark');
  // One sector in the middle of a block, a run over block borders, a block of zeros, a discarded range.
  write('write -P 3 1M 512', 'write -P 4 2080k 200k', 'write -P 0 4M 64k', 'write -z -u 6M 1M');
  const overlayPath = makeQcow2('overlay.qcow2', sizeBytes, '-b', basePath, '-F', 'qcow2');
  {
    await using source = await serveWithQemuNbd({
      folder,
      name: 'a',
      imagePath: sourcePath,
      format: 'qcow2',
      isReadOnly: true,
      bitmap: 'mark',
    });
    await using target = await serveWithStorageDaemon({
      folder,
      name: 'b',
      imagePath: overlayPath,
      format: 'qcow2',
      isReadOnly: false,
    });
    const metaContext = 'qemu:dirty-bitmap:mark';
    const dirty = [];
    for await (const extent of mapExtents(source.endpoint, [metaContext], options)) {
      if (extent.flags === 1) dirty.push([extent.offsetBytes, extent.lengthBytes]);
    }
    assert.deepEqual(dirty[0], [MIB, BLOCK_BYTES]);
    const ends = { source: source.endpoint, target: target.endpoint, sizeBytes };
    const extents = { type: 'changed', metaContext } as const;
    const result = await mover.transfer(
      { ...base, ...ends, extents, targetReads: 'parent' },
      options,
    );
    assert.deepEqual(
      { ...result, durationMs: 0 },
      {
        readBytes: 6 * BLOCK_BYTES,
        sentBytes: 5 * BLOCK_BYTES,
        zeroedBytes: MIB + BLOCK_BYTES,
        unchangedBytes: 0,
        extentCount: 4,
        durationMs: 0,
      },
    );
    const middle = await readRange(
      target.endpoint,
      { offsetBytes: MIB, lengthBytes: 1024 },
      options,
    );
    assert.deepEqual([middle[0], middle[512]], [3, 1]);
  }
  run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', sourcePath, overlayPath);
  const image = Buffer.alloc(sizeBytes);
  image.fill(4, 2080 * 1024, 2280 * 1024);
  const records = spoolRecords(readFileSync(recordsPath));
  assert.equal(records.length, 5 + 1 + 16);
  assert.ok(records.includes(`33 ${hashOfBlock(image, 33)}`));
  assert.ok(records.includes(`64 ${'00'.repeat(32)}`));
  // Zeros take no room: the overlay holds the five blocks and its own tables.
  const allocated = JSON.parse(run('qemu-img', 'info', '--output=json', overlayPath))[
    'actual-size'
  ];
  assert.ok(allocated < 12 * BLOCK_BYTES, `${allocated} bytes`);
});

test('what two surveys find is all that must move to make two grown-apart disks equal', {
  skip,
}, async () => {
  const sizeBytes = 40 * MIB + 12 * 512;
  const write = (path: string, ...commands: readonly string[]) =>
    run('qemu-io', '-f', 'qcow2', ...commands.flatMap((each) => ['-c', each]), path);
  const replicaPath = makeQcow2('replica.qcow2', sizeBytes);
  write(replicaPath, 'write -P 1 0 8M', 'write -P 2 20M 2M', 'write -P 3 40M 4k');
  const productionPath = join(folder, 'production.qcow2');
  run('qemu-img', 'convert', '-O', 'qcow2', replicaPath, productionPath);
  for (const path of [replicaPath, productionPath])
    run('qemu-img', 'bitmap', '--add', path, 'mark');
  write(replicaPath, 'write -P 4 1M 512', 'write -z 2M 1M', 'write -P 5 40964k 1k');
  write(productionPath, 'write -P 6 3M 70k', 'write -P 7 30M 128k', 'write -z 20M 64k');
  const common = { folder, format: 'qcow2', isReadOnly: true } as const;
  {
    await using replica = await serveWithStorageDaemon({
      ...{ ...common, name: 'r', imagePath: replicaPath, bitmap: 'mark' },
    });
    const changed = { type: 'changed', metaContext: 'qemu:dirty-bitmap:mark' } as const;
    const here = await mover.survey(
      { endpoint: replica.endpoint, sizeBytes, by: changed },
      options,
    );
    const there = await surveyServed(productionPath, sizeBytes);
    assert.deepEqual(
      [...rangesOf(here)].map(({ firstBlock }) => firstBlock),
      [16, 32, 640],
    );
    const blocks = union(here, there);
    await using target = await serveWithStorageDaemon({
      ...{ ...common, name: 't', imagePath: productionPath, isReadOnly: false },
    });
    const result = await mover.transfer(
      {
        ...{ ...base, recordsPath: null, source: replica.endpoint, target: target.endpoint },
        ...{ sizeBytes, extents: { type: 'listed', blocks }, targetReads: 'parent' },
      },
      options,
    );
    const zeroedBytes = MIB + 2 * BLOCK_BYTES;
    assert.equal(result.zeroedBytes, zeroedBytes);
    assert.equal(result.sentBytes, (1 + 2 + 1) * BLOCK_BYTES + 12 * 512);
  }
  run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', replicaPath, productionPath);
});

async function surveyServed(imagePath: string, sizeBytes: number) {
  await using server = await serveWithStorageDaemon({
    ...{ folder, name: 'p', imagePath, format: 'qcow2', isReadOnly: true, bitmap: 'mark' },
  });
  const by = { type: 'changed', metaContext: 'qemu:dirty-bitmap:mark' } as const;
  return await mover.survey({ endpoint: server.endpoint, sizeBytes, by }, options);
}
