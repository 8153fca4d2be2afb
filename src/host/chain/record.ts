/**
 * replica.json: who the replica is, and every layer with what it should look like. Which restore points exist is not
 * said here but by the files in `points/`; which branches, by those in `branches/`. So publishing a point is one
 * rename, and this record only ever has to be *ahead*: it names a layer before the first thing that needs it.
 */
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, DiskKey, LayerId, PointId, ReplicaId } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import { chainDefect } from '../../domain/replica/chain.ts';
import * as text from '../file-parsing.ts';
import { writeJson } from './durable-file.ts';
import type { FileIdentity } from './identity.ts';
import type { ReplicaLayout } from './layout.ts';

const RECORD_VERSION = 1;

export type RecordedLayer = {
  readonly id: LayerId;
  readonly disk: DiskKey;
  readonly parentId: LayerId | null;
  /** Virtual size. */
  readonly sizeBytes: number;
};

export type SealedLayer = RecordedLayer & {
  /** Null after the record was lost and rebuilt: unknown until the layer is read again. */
  readonly identity: FileIdentity | null;
  /** It was read again and is not what its hash table says. */
  readonly isDamaged: boolean;
};

/** A point to come. It ends by its point file appearing, whatever this record still says. */
export type PartialPoint = {
  readonly pointId: PointId;
  readonly parentPointId: PointId | null;
  /**
   * Under which kernel it is being written. Nothing is flushed before it is sealed, so that after a power cut it is
   * worth nothing and is made anew. Null: by a version that flushed.
   */
  readonly bootId: string | null;
  readonly layers: readonly RecordedLayer[];
};

/** Content of `layerId` going down into its parent. While it is here, `intoId` may read like anything between. */
export type MergeIntent = { readonly layerId: LayerId; readonly intoId: LayerId };

export type ReplicaRecord = {
  readonly formatVersion: typeof RECORD_VERSION;
  readonly id: ReplicaId;
  readonly name: string;
  /** The highest seen. */
  readonly epoch: number;
  readonly layers: readonly SealedLayer[];
  readonly partials: readonly PartialPoint[];
  readonly merges: readonly MergeIntent[];
  /** Layers that are no longer needed and whose folders may still be there. */
  readonly debris: readonly LayerId[];
  /** The branch that is becoming all that is left. */
  readonly promotedBranchId: BranchId | null;
  /** What a controller wants to find here when it knows nothing any more; null in older files. */
  readonly about: Json;
};

const layerFields = {
  id: text.layerIdText,
  disk: text.diskKeyText,
  parentId: text.layerIdText.nullable(),
  sizeBytes: text.byteCount,
};

const schema: z.ZodType<ReplicaRecord> = z.strictObject({
  formatVersion: z.literal(RECORD_VERSION),
  id: text.replicaIdText,
  name: z.string(),
  epoch: text.count,
  layers: z.array(
    z.strictObject({
      ...layerFields,
      identity: text.fileIdentity.nullable(),
      isDamaged: z.boolean(),
    }),
  ),
  partials: z.array(
    z.strictObject({
      pointId: text.pointIdText,
      parentPointId: text.pointIdText.nullable(),
      bootId: z.string().nullable().default(null),
      layers: z.array(z.strictObject(layerFields)),
    }),
  ),
  merges: z.array(z.strictObject({ layerId: text.layerIdText, intoId: text.layerIdText })),
  debris: z.array(text.layerIdText),
  promotedBranchId: text.branchIdText.nullable(),
  about: z.json().default(null),
});

export function newRecord(replica: {
  readonly id: ReplicaId;
  readonly name: string;
  readonly epoch: number;
}): ReplicaRecord {
  return {
    formatVersion: RECORD_VERSION,
    ...replica,
    layers: [],
    partials: [],
    merges: [],
    debris: [],
    promotedBranchId: null,
    about: null,
  };
}

export function writeRecord(layout: ReplicaLayout, record: ReplicaRecord): Promise<void> {
  return writeJson(layout.record, record);
}

/** Null when there is none. Throws `invalid-file`. */
export async function readRecord(layout: ReplicaLayout): Promise<ReplicaRecord | null> {
  const content = await text.readJson(layout.record);
  if (content === null) return null;
  const record = text.parseFile(schema, content, layout.record);
  const defect = recordDefect(record, layout.replicaId);
  if (defect !== null) throw text.invalidFile(layout.record, defect);
  return record;
}

/** Throws `replica-missing`, `invalid-file`. */
export async function requireRecord(layout: ReplicaLayout): Promise<ReplicaRecord> {
  const record = await readRecord(layout);
  if (record !== null) return record;
  throw new UnderstudyError('replica-missing', { replica: layout.replicaId });
}

/** What the shape alone does not show; null when the record holds together. */
function recordDefect(record: ReplicaRecord, replicaId: ReplicaId): string | null {
  if (record.id !== replicaId) return `it is the record of replica ${record.id}`;
  const defect = chainDefect(record.layers) ?? parentDefect(record.layers, record.layers);
  if (defect !== null) return defect;
  for (const partial of record.partials) {
    const found = parentDefect(partial.layers, record.layers);
    if (found !== null) return found;
    if (text.hasRepetition(partial.layers.map((layer) => layer.disk))) {
      return `the partial point ${partial.pointId} has a disk twice`;
    }
  }
  for (const merge of record.merges) {
    const layer = record.layers.find(({ id }) => id === merge.layerId);
    if (layer?.parentId !== merge.intoId) return `the merge of layer ${merge.layerId} is unfounded`;
  }
  return null;
}

function parentDefect(
  layers: readonly RecordedLayer[],
  among: readonly RecordedLayer[],
): string | null {
  const disks = new Map(among.map((layer) => [layer.id, layer.disk]));
  for (const { id, disk, parentId } of layers) {
    if (parentId === null || disks.get(parentId) === disk) continue;
    return `layer ${id} of disk ${disk} lies over ${parentId}, which is not a layer of that disk`;
  }
  return null;
}
