/**
 * Seeds: disk images that are at the target already, to be compared with instead of sending everything. They are only ever
 * read. What is read is hashed on its way into the first layer, so that a seed may be old, or wrong, or change meanwhile:
 * it then saves less, and no block of it is ever taken for the VM's.
 *
 *   image ──read-only, unlocked──▶ mover ──▶ layers/<id>/<disk>.qcow2   settled: <disk>.seed says what it holds
 *                                            source ──what differs──▶   sealed:  <disk>.hash of both together
 */
import { open, realpath, rm, stat } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { PointId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ReadableDisk, SeedDisk, SeedImage, StoreCommand } from '../../ports/replica-store.ts';
import { mergeTables } from '../hash-table/layered.ts';
import { sealTable } from '../hash-table/seal-table.ts';
import { isThere } from '../is-there.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { isNodeError } from './errors.ts';
import type { ServedImage } from './image-server.ts';
import type { ReplicaLayout } from './layout.ts';
import type { RecordedLayer } from './record.ts';

type Described = SeedDisk & {
  /** With no link left in it. */
  readonly path: string;
};

export async function describeSeed(
  context: StoreContext,
  files: readonly SeedImage[],
  options: CallOptions,
): Promise<readonly SeedDisk[]> {
  const described: SeedDisk[] = [];
  for (const file of files) {
    const { key, format, sizeBytes } = await describeImage(context, file, options);
    described.push({ key, format, sizeBytes });
  }
  return described;
}

const READ_ONLY = { isWritable: false, isUnlocked: true } as const;

type SeedCommand = StoreCommand & {
  readonly files: readonly (SeedImage & { readonly sizeBytesMax: number })[];
};

export async function openSeed(
  context: StoreContext,
  { key, replicaId, files }: SeedCommand,
  options: CallOptions,
): Promise<readonly ReadableDisk[]> {
  const images: ServedImage[] = [];
  const sizes: number[] = [];
  for (const file of files) {
    const { path, format, sizeBytes } = await describeImage(context, file, options);
    const shown = Math.min(sizeBytes, file.sizeBytesMax);
    const limit = shown < sizeBytes ? { sizeBytesMax: shown } : {};
    images.push({ ...READ_ONLY, exportName: file.key, path, format, ...limit });
    sizes.push(shown);
  }
  const name = sessionName.ofReading(replicaId, key);
  const endpoints = await context.server.serve({ name, images, scratchFolder: null }, options);
  return files.map((file, index): ReadableDisk => {
    const endpoint = endpoints[index];
    if (endpoint === undefined) throw new RangeError(`seed ${file.path} is not served`);
    const sizeBytes = sizes[index] ?? 0;
    return { key: file.key, sizeBytes, endpoint, hashesPath: null, extents: { type: 'allocated' } };
  });
}

/** Throws `seed-unfit`, `image-in-use`. */
async function describeImage(
  context: StoreContext,
  file: SeedImage,
  options: CallOptions,
): Promise<Described> {
  const path = await realFile(context, file.path);
  const format = file.format ?? (await formatOf(path));
  const about = await context.images.describe(path, format, options).catch((error: unknown) => {
    if (!(error instanceof UnderstudyError) || error.code !== 'image-command-failed') throw error;
    throw unfit(file.path, `QEMU cannot open it as ${format}: ${error.details.reason}`, error);
  });
  if (about.isEncrypted)
    throw unfit(file.path, 'it is encrypted; decrypt it with qemu-img convert');
  if (about.hasOtherFile) {
    throw unfit(
      file.path,
      'it keeps its content in another file; make one of it with qemu-img convert',
    );
  }
  if (about.backing !== null && file.format === null) {
    const way = 'make one that stands alone with qemu-img convert';
    throw unfit(file.path, `it stands on another image, ${about.backing}; ${way}`);
  }
  return { key: file.key, path, format, sizeBytes: about.virtualSizeBytes };
}

/** A regular file that is none of a replica's: those change whenever retention likes. */
async function realFile({ storageFolder }: StoreContext, path: string): Promise<string> {
  const real = await readable(path, () => realpath(path));
  if (!(await readable(path, () => stat(real))).isFile()) throw unfit(path, 'it is not a file');
  const storage = await realpath(storageFolder).catch(() => storageFolder);
  if (real.startsWith(`${storage}/`) && !real.startsWith(`${storage}/exports/`)) {
    throw unfit(path, 'it belongs to a replica; name that replica instead of its file');
  }
  return real;
}

/** What begins like this, and is neither qcow2 nor VHDX, is no raw disk, whatever its name says. */
const FOREIGN: readonly (readonly [magic: string, format: string])[] = [
  ['KDMV', 'VMDK'],
  ['COWD', 'VMDK'],
  ['# Disk DescriptorFile', 'VMDK'],
  ['conectix', 'VHD'],
  ['<<< ', 'VDI'],
  ['QED\0', 'QED'],
  ['\x1f\x8b', 'gzip'],
  ['\x28\xb5\x2f\xfd', 'zstd'],
  ['\xfd7zXZ\0', 'xz'],
  ['PK\x03\x04', 'zip'],
];

/** By its content: a name may lie, and QEMU's own guess could take a guest's disk for an image that names other files. */
async function formatOf(path: string): Promise<SeedDisk['format']> {
  const begins = await readable(path, async () => {
    await using handle = await open(path, 'r');
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(32), 0, 32, 0);
    return buffer.subarray(0, bytesRead).toString('latin1');
  });
  if (begins.startsWith('QFI\xfb')) return 'qcow2';
  if (begins.startsWith('vhdxfile')) return 'vhdx';
  const foreign = FOREIGN.find(([magic]) => begins.startsWith(magic));
  if (foreign === undefined) return 'raw';
  const ways = 'only qcow2, raw and VHDX are understood; convert it with qemu-img convert';
  throw unfit(path, `it is ${foreign[1]}, and ${ways}`);
}

async function readable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (isNodeError(error, 'ENOENT') || isNodeError(error, 'ENOTDIR')) {
      throw unfit(path, 'there is no such file on the target host');
    }
    if (error instanceof UnderstudyError || !(error instanceof Error)) throw error;
    throw unfit(path, `it cannot be read: ${error.message}`, error);
  }
}

export async function settlePartial(
  context: StoreContext,
  command: StoreCommand & { readonly pointId: PointId },
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const { partials } = await admit(layout, command);
  const partial = partials.find(({ pointId }) => pointId === command.pointId);
  if (partial === undefined) {
    const details = { replica: command.replicaId, point: command.pointId };
    throw new UnderstudyError('point-missing', details);
  }
  for (const layer of partial.layers) await settleLayer(context, layout, layer);
}

/** The spool goes last: while it is there the table may be half of one. */
async function settleLayer(
  context: StoreContext,
  layout: ReplicaLayout,
  layer: RecordedLayer,
): Promise<void> {
  const recordsPath = layout.records(layer);
  if (layer.parentId !== null || !(await isThere(recordsPath))) return;
  const virtualSizeBytes = layer.sizeBytes;
  await sealTable({ recordsPath, below: [], virtualSizeBytes, path: layout.seed(layer) });
  context.crashPoint('settle: table made');
  await rm(recordsPath);
}

export function isSeeded(layout: ReplicaLayout, layer: RecordedLayer): Promise<boolean> {
  return isThere(layout.seed(layer));
}

/** What a seeded layer holds: what the source changed, over what the seed had. Returns the root of it. May be repeated. */
export async function sealSeededTable(
  layout: ReplicaLayout,
  layer: RecordedLayer,
): Promise<string> {
  const [older, newer] = [layout.seed(layer), layout.overSeed(layer)];
  const table = { recordsPath: layout.records(layer), virtualSizeBytes: layer.sizeBytes };
  const rootHash = await sealTable({ ...table, below: [older], path: newer });
  await mergeTables({ older, newer, isBase: true, path: layout.table(layer) });
  return rootHash;
}

function unfit(path: string, reason: string, cause?: Error): UnderstudyError {
  return new UnderstudyError('seed-unfit', { seed: path, reason }, cause);
}
