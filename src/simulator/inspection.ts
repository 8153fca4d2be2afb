/** Compares what is recorded of a replica with what is there, and carries out the named repairs. */
import { asUnderstudyError } from '../domain/error.ts';
import type { LayerId } from '../domain/ids.ts';
import type { ReplicaFinding } from '../domain/replica/finding.ts';
import type { Files } from './files.ts';
import { diskAt } from './files.ts';
import type { Blocks } from './image.ts';
import { tidyLayers } from './layer-merging.ts';
import { discardPartialPoint, type Folder } from './partial-point.ts';
import { driftOf, pointsOver, type ReplicaFolder, type StoredLayer } from './replica-folder.ts';

type Finding = Pick<ReplicaFinding, 'kind' | 'object' | 'message' | 'repair'>;

export function inspectFolder(files: Files, folder: ReplicaFolder): readonly ReplicaFinding[] {
  const findings: ReplicaFinding[] = [];
  for (const layer of folder.layers.values()) {
    const message = layer.isSealed ? driftOf(files, folder, layer) : null;
    if (message !== null) findings.push(layerFinding(files, folder, layer, message));
  }
  if (folder.merging !== null) {
    const { layerId, intoId } = folder.merging;
    findings.push(
      plain({
        kind: 'merge-unfinished',
        object: layerId,
        message: `Merging layer ${layerId} into ${intoId} was interrupted.`,
        repair: 'finish-merge',
      }),
    );
  }
  for (const pointId of folder.partials.keys()) {
    const message = `Restore point ${pointId} was begun and never sealed.`;
    const object = `partial/${pointId}`;
    findings.push(plain({ kind: 'partial-left', object, message, repair: 'discard-partial' }));
  }
  for (const object of folder.foreignFiles) {
    const message = `${object} does not belong to the replica.`;
    findings.push(plain({ kind: 'foreign-file', object, message, repair: 'none' }));
  }
  return findings;
}

function layerFinding(
  files: Files,
  folder: ReplicaFolder,
  layer: StoredLayer,
  message: string,
): ReplicaFinding {
  const isMissing = diskAt(files, layer.image.path) === null;
  return {
    kind: isMissing ? 'layer-missing' : 'layer-changed',
    object: `layers/${layer.id}/${layer.key}.qcow2`,
    message,
    repair: isMissing || layer.isCorrupt ? 'drop-points' : 'rehash-layer',
    blocksWrites: true,
    layerId: layer.id,
    pointIds: pointsOver(folder, layer.id),
    branchId: null,
  };
}

function plain(finding: Finding): ReplicaFinding {
  return { ...finding, blocksWrites: false, layerId: null, pointIds: [], branchId: null };
}

/** What cannot be repaired is left as it is. */
export async function repairFolder(
  at: Folder,
  findings: readonly ReplicaFinding[],
  moment: (name: string) => Promise<void>,
): Promise<void> {
  for (const finding of findings) {
    if (finding.repair === 'rehash-layer') rehash(at, finding.layerId);
    if (finding.repair === 'drop-points') dropPoints(at, finding.layerId);
    if (finding.repair === 'discard-partial') discardLeft(at, finding);
  }
  if (findings.some(({ repair }) => repair === 'finish-merge' || repair === 'drop-points')) {
    const { host, around, folder } = at;
    await tidyLayers({ host, files: around.files, folder, moment }).catch((error: unknown) => {
      // What is damaged stays hidden below the archive that reads through it; who looks again is told.
      if (asUnderstudyError(error).code !== 'replica-drifted') throw error;
    });
  }
}

/** Reads the changed layer again: the same content under a new identity is accepted. */
function rehash({ folder, around }: Folder, id: LayerId | null): void {
  const layer = id === null ? undefined : folder.layers.get(id);
  if (layer === undefined) return;
  const image = diskAt(around.files, layer.image.path);
  if (image === null) return;
  layer.isCorrupt = image !== layer.image || !matches(image.blocks, layer.records);
  if (!layer.isCorrupt) layer.recordedIdentity = image.identity;
}

/** A stored zero without a record is one that was skipped or has been merged into a base. */
function matches(blocks: Blocks, records: Blocks): boolean {
  for (const [index, token] of blocks) if ((records.get(index) ?? 0) !== token) return false;
  for (const [index, token] of records) if ((blocks.get(index) ?? 0) !== token) return false;
  return true;
}

function dropPoints({ folder }: Folder, id: LayerId | null): void {
  if (id === null || !folder.layers.has(id)) return;
  for (const pointId of pointsOver(folder, id)) folder.points.delete(pointId);
}

function discardLeft(at: Folder, { object }: ReplicaFinding): void {
  for (const id of [...at.folder.partials.keys()]) {
    if (object === `partial/${id}`) discardPartialPoint(at, id);
  }
}
