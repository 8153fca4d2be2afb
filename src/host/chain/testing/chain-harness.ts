/** Tests only: stores on a folder that is thrown away, blocks written and read by QEMU's own programs. */
import assert from 'node:assert/strict';
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blockHash } from '../../../conformance/replica-store/story.ts';
import type { BlockFills, ReplicaStoreHarness } from '../../../conformance/replica-store.ts';
import { BLOCK_BYTES } from '../../../domain/bytes.ts';
import type { BlockEndpoint, VerifyRequest, VerifyResult } from '../../../ports/mover.ts';
import type { OpenPartialDisk } from '../../../ports/replica-store.ts';
import { systemClock } from '../../../system/clock.ts';
import { systemProcesses } from '../../../system/processes.ts';
import { openHashTable } from '../../hash-table/reader.ts';
import { encodeRecord, RECORD_BYTES } from '../../hash-table/record.ts';
import { createReplicaStore, type ReplicaStoreOptions } from '../store.ts';

export type ChainHarness = ReplicaStoreHarness & {
  readonly storageFolder: string;
  readonly runtimeFolder: string;
  /** A store that may die by throwing at a crash point. */
  openWith(options: Partial<ReplicaStoreOptions>): ReturnType<typeof createReplicaStore>;
};

const processes = systemProcesses();
const clock = systemClock();
const NEVER = { signal: new AbortController().signal };

/** Why tests with real images cannot run here; false when they can. */
export const needsQemu: string | false = await missingProgram();

export async function createChainHarness(): Promise<ChainHarness> {
  const folder = await mkdtemp(join(tmpdir(), 'us-chain,"x:y '));
  const runtimeFolder = await mkdtemp(join(tmpdir(), 'us-run-'));
  const storageFolder = join(folder, 'storage');
  const openWith = (options: Partial<ReplicaStoreOptions>) =>
    createReplicaStore({
      ...{ storageFolder, runtimeFolder, processes, clock },
      verifier: { verify: verifyFills },
      ...options,
    });
  return {
    storageFolder,
    runtimeFolder,
    openWith,
    open: async () => openWith({}),
    write: (disk, blocks, targetReads) => writeThrough(disk, blocks, targetReads),
    read: (endpoint, sizeBytes) => readFills(nbdUri(endpoint), 'raw', sizeBytes),
    readImage: (path, sizeBytes) => readFills(path, 'qcow2', sizeBytes),
    writeBranch: ({ path }, blocks) => writeFills(path, 'qcow2', blocks),
    crashBranch: async ({ path }, blocks) => {
      // Opened for writing by one that dies: that is how a bitmap is lost.
      await writeFills(path, 'qcow2', blocks);
      const args = ['-f', 'qcow2', '-c', 'abort', path];
      const { exitCode } = await processes.run({ command: 'qemu-io', arguments: args }, NEVER);
      assert.notEqual(exitCode, 0);
    },
    changedBlocks,
    flattenBranch: async ({ path }) => {
      await qemu('qemu-img', ['rebase', '-f', 'qcow2', '-b', '', path]);
    },
    hashes: tableHashes,
    sidecar: async (name, text) => {
      const path = join(folder, name);
      await writeFile(path, text);
      return { name, path };
    },
    sidecarText: (path) => readFile(path, 'utf8'),
    exists: (path) =>
      stat(path).then(
        () => true,
        () => false,
      ),
    [Symbol.asyncDispose]: async () => {
      await endServers(runtimeFolder);
      await rm(folder, { recursive: true, force: true });
      await rm(runtimeFolder, { recursive: true, force: true });
    },
  };
}

async function endServers(runtimeFolder: string): Promise<void> {
  for (const name of await readdir(runtimeFolder)) {
    const session = JSON.parse(await readFile(join(runtimeFolder, name, 'session.json'), 'utf8'));
    await processes.end(session.process, 5_000, NEVER);
  }
}

async function writeThrough(
  { target, recordsPath }: Pick<OpenPartialDisk, 'target' | 'recordsPath'>,
  blocks: BlockFills,
  targetReads: 'zeros' | 'parent',
): Promise<void> {
  const wanted = [...blocks].filter(([, fill]) => fill !== 0 || targetReads === 'parent');
  if ('imagePath' in target) await writeFills(target.imagePath, 'qcow2', new Map(wanted));
  else await writeFills(nbdUri(target), 'raw', new Map(wanted));
  const spool = Buffer.alloc(wanted.length * RECORD_BYTES);
  wanted
    .toSorted(([a], [b]) => a - b)
    .forEach(([index, fill], n) => {
      encodeRecord(spool, n * RECORD_BYTES, index, blockHash(fill));
    });
  await writeFile(recordsPath, spool);
}

export async function writeFills(target: string, format: string, blocks: BlockFills) {
  if (blocks.size === 0) return;
  const commands = [...blocks].flatMap(([index, fill]) => {
    const range = `${index * BLOCK_BYTES} ${BLOCK_BYTES}`;
    return ['-c', fill === 0 ? `write -q -z ${range}` : `write -q -P ${fill} ${range}`];
  });
  await qemu('qemu-io', ['-f', format, ...commands, '-c', 'flush', target]);
}

/** What each block is filled with, by `qemu-img convert`. */
export async function readFills(
  source: string,
  format: string,
  sizeBytes: number,
): Promise<readonly number[]> {
  const folder = await mkdtemp(join(tmpdir(), 'us-read-'));
  try {
    const path = join(folder, 'raw');
    await qemu('qemu-img', ['convert', '-f', format, '-O', 'raw', source, path]);
    await using handle = await open(path, 'r');
    assert.equal((await handle.stat()).size, sizeBytes, 'size of what was read');
    const fills: number[] = [];
    const block = Buffer.alloc(BLOCK_BYTES);
    for (let at = 0; at < sizeBytes; at += BLOCK_BYTES) {
      const { bytesRead } = await handle.read(block, 0, BLOCK_BYTES, at);
      const fill = block[0] ?? 0;
      const isUniform = block.subarray(0, bytesRead).equals(Buffer.alloc(bytesRead, fill));
      assert.ok(isUniform, `block ${at / BLOCK_BYTES} is uniform`);
      fills.push(fill);
    }
    return fills;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** By QEMU's own client, which calls what a meta context selects a hole without content (its x-dirty-bitmap). */
async function changedBlocks(
  { address, exportName }: BlockEndpoint,
  metaContext: string,
): Promise<readonly number[]> {
  assert.equal(address.type, 'unix');
  const path = address.type === 'unix' ? address.path : '';
  const place = `driver=nbd,export=${exportName},server.type=unix,server.path=${path}`;
  const options = `${place},x-dirty-bitmap=${metaContext}`;
  const text = await qemu('qemu-img', ['map', '--output=json', '--image-opts', options]);
  const extents: readonly { start: number; length: number; data: boolean; zero: boolean }[] =
    JSON.parse(text);
  const changed = new Set<number>();
  for (const { start, length, data, zero } of extents) {
    if (data || zero) continue;
    for (let at = start; at < start + length; at += BLOCK_BYTES) {
      changed.add(Math.floor(at / BLOCK_BYTES));
    }
  }
  return [...changed];
}

/** `Mover.verify` for disks of uniform blocks. */
async function verifyFills(request: VerifyRequest): Promise<VerifyResult> {
  const fills = await readFills(nbdUri(request.endpoint), 'raw', request.sizeBytes);
  const hashes = await tableHashes(request.hashesPath);
  const zero = blockHash(0).toString('hex');
  const wrongBlocks = fills.flatMap((fill, index) =>
    blockHash(fill).toString('hex') === (hashes.get(index) ?? zero) ? [] : [index],
  );
  return {
    checkedBytes: request.sizeBytes,
    wrongBlockCount: wrongBlocks.length,
    wrongBlocks: wrongBlocks.slice(0, 100),
  };
}

async function tableHashes(path: string): Promise<ReadonlyMap<number, string>> {
  await using table = await openHashTable(path);
  const hashes = new Map<number, string>();
  for await (const { blockIndex, hash } of table.records()) {
    hashes.set(blockIndex, hash.toString('hex'));
  }
  return hashes;
}

function nbdUri({ address, exportName }: BlockEndpoint): string {
  assert.equal(address.type, 'unix');
  const path = address.type === 'unix' ? address.path : '';
  return `nbd+unix:///${encodeURIComponent(exportName)}?socket=${encodeURIComponent(path)}`;
}

export async function qemu(command: string, args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await processes.run({ command, arguments: args }, NEVER);
  assert.equal(exitCode, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function missingProgram(): Promise<string | false> {
  for (const command of ['qemu-img', 'qemu-io', 'qemu-storage-daemon']) {
    try {
      await processes.run({ command, arguments: ['--version'] }, NEVER);
    } catch {
      return `needs ${command}`;
    }
  }
  return false;
}
