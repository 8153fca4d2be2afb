/** The mover with disks that programs of QEMU serve, for the suite that every mover must pass. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiskSpec, Fills, MoverHarness } from '../../../conformance/mover/harness.ts';
import { BLOCK_BYTES, blockCount } from '../../../domain/bytes.ts';
import { systemClock } from '../../../system/clock.ts';
import { readRange } from '../extents.ts';
import { createMover } from '../mover.ts';
import { hashOfBlock, spoolRecords, writeHashTable } from './disk-models.ts';
import { hasProgram, type RunningServer, run, type ServedImage } from './nbd-servers.ts';

const PROGRAMS = ['qemu-img', 'qemu-nbd', 'qemu-io', 'qemu-storage-daemon'];
const absent = PROGRAMS.filter((name) => !hasProgram(name));
export const needsQemu: string | false = absent.length === 0 ? false : `needs ${absent.join(', ')}`;

const MARK = 'mark';
const { signal } = new AbortController();

export async function createMoverHarness(
  startServer: (image: ServedImage) => Promise<RunningServer>,
): Promise<MoverHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'us-move-'));
  let serial = 0;
  const newPath = () => {
    serial += 1;
    return join(folder, `f${serial}`);
  };
  return {
    mover: createMover({ clock: systemClock() }),
    async serve(spec) {
      const imagePath = makeImage(newPath, spec);
      const server = await startServer({
        folder,
        name: `d${serial}`,
        imagePath,
        format: 'qcow2',
        isReadOnly: spec.isWritable !== true,
        isFull: spec.isFull === true,
        ...(spec.changed === undefined ? {} : { bitmap: MARK }),
      });
      const { endpoint } = server;
      return {
        endpoint,
        metaContext: `qemu:dirty-bitmap:${MARK}`,
        read: async () => {
          const range = { offsetBytes: 0, lengthBytes: spec.sizeBytes };
          return fillsOf(await readRange(endpoint, range, { signal }));
        },
        [Symbol.asyncDispose]: () => server.close(),
      };
    },
    nobody: () => ({ address: { type: 'unix', path: newPath() }, exportName: 'nobody' }),
    async hashTable(sizeBytes, blocks) {
      const path = newPath();
      writeHashTable(path, imageOf(sizeBytes, blocks));
      return path;
    },
    newPath,
    records: async (path, sizeBytes) => recordedFills(readFileSync(path), sizeBytes),
    settled: (call) => call,
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** What changed is written after the mark was set, as a guest does it. */
function makeImage(newPath: () => string, spec: DiskSpec): string {
  const { sizeBytes, blocks = {}, parent, changed } = spec;
  const path = newPath();
  const over: string[] = [];
  if (parent !== undefined) {
    const parentPath = newPath();
    run('qemu-img', 'create', '-q', '-f', 'qcow2', parentPath, String(sizeBytes));
    write(parentPath, sizeBytes, Object.entries(parent));
    over.push('-b', parentPath, '-F', 'qcow2');
  }
  run('qemu-img', 'create', '-q', '-f', 'qcow2', ...over, path, String(sizeBytes));
  const isChanged = ([index]: readonly [string, number]) => changed?.includes(Number(index));
  const fills = Object.entries(blocks);
  write(
    path,
    sizeBytes,
    fills.filter((fill) => isChanged(fill) !== true),
  );
  if (changed !== undefined) run('qemu-img', 'bitmap', '--add', path, MARK);
  write(path, sizeBytes, fills.filter(isChanged));
  return path;
}

function write(
  path: string,
  sizeBytes: number,
  fills: readonly (readonly [index: string, fill: number])[],
): void {
  const commands = fills.flatMap(([index, fill]) => {
    const start = Number(index) * BLOCK_BYTES;
    const range = `${start} ${Math.min(BLOCK_BYTES, sizeBytes - start)}`;
    return ['-c', fill === 0 ? `write -q -z ${range}` : `write -q -P ${fill} ${range}`];
  });
  if (commands.length > 0) run('qemu-io', '-f', 'qcow2', ...commands, path);
}

function imageOf(sizeBytes: number, blocks: Fills): Buffer {
  const image = Buffer.alloc(sizeBytes);
  for (const [index, fill] of Object.entries(blocks)) {
    const start = Number(index) * BLOCK_BYTES;
    image.subarray(start, start + BLOCK_BYTES).fill(fill);
  }
  return image;
}

/** Of blocks that are uniform, as all of the suite are. */
function fillsOf(image: Buffer): number[] {
  return Array.from({ length: blockCount(image.length) }, (_, index) => {
    const block = image.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    const fill = block[0] ?? 0;
    if (!block.equals(Buffer.alloc(block.length, fill))) throw new Error(`block ${index} is mixed`);
    return fill;
  });
}

/** By the hash of each possible content: of a whole block, and of one that the disk's end cuts off. */
function recordedFills(spool: Buffer, sizeBytes: number): (readonly [number, number])[] {
  const last = blockCount(sizeBytes) - 1;
  return spoolRecords(spool).map((record) => {
    const [index = '', hash] = record.split(' ');
    const lengthBytes = Number(index) === last ? sizeBytes - last * BLOCK_BYTES : BLOCK_BYTES;
    const fill = Array.from({ length: 256 }, (_, value) => value).find(
      (value) => hashOfFill(value, lengthBytes) === hash,
    );
    if (fill === undefined) throw new Error(`the record of block ${index} is of no content`);
    return [Number(index), fill] as const;
  });
}

const hashes = new Map<string, string>();

function hashOfFill(fill: number, lengthBytes: number): string {
  const name = `${fill} ${lengthBytes}`;
  const hash = hashes.get(name) ?? hashOfBlock(Buffer.alloc(lengthBytes, fill), 0);
  hashes.set(name, hash);
  return hash;
}
