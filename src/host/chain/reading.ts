/** Serving a point or a branch for reading: to copy it elsewhere, or to verify it. */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, DiskKey, PointId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ExtentSelection } from '../../ports/mover.ts';
import type { ReadableDisk, StoreCommand } from '../../ports/replica-store.ts';
import { invalidFile } from '../file-parsing.ts';
import { flattenChain } from '../hash-table/layered.ts';
import type { BranchFile } from './branch-file.ts';
import { requireBranch } from './branches.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { makeFolder } from './durable-file.ts';
import { readImageHeader } from './identity.ts';
import type { ServedImage } from './image-server.ts';
import type { ReplicaLayout } from './layout.ts';
import { hasUsableBitmap } from './qcow2-bitmaps.ts';
import type { ReplicaRecord } from './record.ts';
import { chainOf, loadPoint } from './state.ts';

/** How deep below the top image a range is held: 1 is the top itself (qemu-nbd(8)). */
const ALLOCATION_DEPTH_CONTEXT = 'qemu:allocation-depth';

type ReadingCommand = StoreCommand & {
  readonly of: { readonly pointId: PointId } | { readonly branchId: BranchId };
  readonly sizesMax?: Readonly<Record<DiskKey, number>>;
};

/** What is to be served, before it is. */
type Readable = {
  readonly key: DiskKey;
  readonly path: string;
  readonly sizeBytes: number;
  readonly hashesPath: string | null;
  /** How it is told what is worth reading; null: by what is allocated. */
  readonly tells: NonNullable<ServedImage['tells']> | null;
};

export async function openReading(
  context: StoreContext,
  command: ReadingCommand,
  options: CallOptions,
): Promise<readonly ReadableDisk[]> {
  const layout = layoutOf(context, command.replicaId);
  const record = await admit(layout, command);
  const scratchFolder = join(layout.readings, shortName(command.key));
  // Served anew: the scratch folder of an earlier session of this key goes with that session.
  await closeReading(context, command, options);
  try {
    return await serveReading(context, command, { layout, record, scratchFolder }, options);
  } catch (error) {
    // No session remembers the folder.
    await rm(scratchFolder, { recursive: true, force: true });
    throw error;
  }
}

type Opening = {
  readonly layout: ReplicaLayout;
  readonly record: ReplicaRecord;
  readonly scratchFolder: string;
};

async function serveReading(
  { server }: StoreContext,
  { of, key, sizesMax = {} }: ReadingCommand,
  { layout, record, scratchFolder }: Opening,
  options: CallOptions,
): Promise<readonly ReadableDisk[]> {
  const whole =
    'pointId' in of
      ? await pointReadables(layout, record, { pointId: of.pointId, scratchFolder })
      : await branchReadables(layout, of.branchId);
  const images = whole.map(({ key: exportName, path, sizeBytes, tells }): ServedImage => {
    const most = sizesMax[exportName] ?? sizeBytes;
    const part = most < sizeBytes ? { sizeBytesMax: most } : {};
    const image = { exportName, path, isWritable: false, ...part };
    return tells === null ? image : { ...image, tells };
  });
  const readables = whole.map((readable) => ({
    ...readable,
    sizeBytes: Math.min(readable.sizeBytes, sizesMax[readable.key] ?? readable.sizeBytes),
  }));
  const name = sessionName.ofReading(layout.replicaId, key);
  const endpoints = await server.serve({ name, images, scratchFolder }, options);
  return readables.map((readable, index) => {
    const endpoint = endpoints[index];
    if (endpoint === undefined) throw new RangeError(`disk ${readable.key} is not served`);
    return {
      key: readable.key,
      sizeBytes: readable.sizeBytes,
      endpoint,
      hashesPath: readable.hashesPath,
      extents: extentsOf(readable),
    };
  });
}

function extentsOf({ tells }: Readable): ExtentSelection {
  if (tells === null) return { type: 'allocated' };
  const metaContext =
    tells.type === 'bitmap' ? `qemu:dirty-bitmap:${tells.name}` : ALLOCATION_DEPTH_CONTEXT;
  return { type: 'changed', metaContext };
}

/** An operation's key has slashes and may be long. */
function shortName(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 20);
}

/** Drifted layers are served too: reading is how one finds out. Throws `point-missing`, `invalid-file`. */
async function pointReadables(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  { pointId, scratchFolder }: { readonly pointId: PointId; readonly scratchFolder: string },
): Promise<readonly Readable[]> {
  const stored = await loadPoint(layout, record, pointId);
  if (stored === null) {
    throw new UnderstudyError('point-missing', { replica: layout.replicaId, point: pointId });
  }
  await makeFolder(scratchFolder, 0o700);
  return await Promise.all(
    stored.point.disks.map(async ({ key, layerId, sizeBytes }) => {
      const chain = chainOf(record, layerId);
      const hashesPath = join(scratchFolder, `${key}.hash`);
      await flattenChain({
        chain: chain.map((layer) => layout.table(layer)),
        virtualSizeBytes: sizeBytes,
        path: hashesPath,
      });
      const path = layout.image({ id: layerId, disk: key });
      return { key, path, sizeBytes, hashesPath, tells: null };
    }),
  );
}

async function branchReadables(
  layout: ReplicaLayout,
  branchId: BranchId,
): Promise<readonly Readable[]> {
  const branch = await requireBranch(layout, branchId);
  return await Promise.all(
    branch.disks.map(async ({ key }) => {
      const path = layout.branchImage(branchId, key);
      const header = await readImageHeader(path);
      if (header === null) throw invalidFile(path, 'it is not a qcow2 image');
      const tells = await changesOf(branch, path);
      return { key, path, sizeBytes: header.virtualSizeBytes, hashesPath: null, tells };
    }),
  );
}

/**
 * What was written since the branch's point. A mark is lost when its VM's host crashes; then the image itself still says
 * what it holds, and that is the same unless an archived branch lies between.
 */
async function changesOf(branch: BranchFile, path: string): Promise<Readable['tells']> {
  const { mark: name, overBranchId, state } = branch;
  if (state === 'promoted') return null;
  if (name !== null && (await hasUsableBitmap(path, name))) return { type: 'bitmap', name };
  return overBranchId === null ? { type: 'depth' } : null;
}

export async function closeReading(
  context: StoreContext,
  command: StoreCommand,
  options: CallOptions,
): Promise<void> {
  await context.server.stop(sessionName.ofReading(command.replicaId, command.key), options);
}
