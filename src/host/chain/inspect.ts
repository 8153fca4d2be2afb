/**
 * Compares what is recorded of a replica with what is in its folder. Changes nothing and trusts nothing: a
 * file that cannot be read is a finding. Content is not read; a layer whose file is another one than was
 * sealed is reported, and whether its content is still right is for the repair to find out.
 */
import { stat } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, LayerId, PointId, ReplicaId } from '../../domain/ids.ts';
import { chainTo, mayContinueMerge } from '../../domain/replica/chain.ts';
import type { ReplicaFinding } from '../../domain/replica/finding.ts';
import { openWalkable } from '../hash-table/cursor.ts';
import { backingOf } from './archived-branches.ts';
import { type BranchFile, branchIds, readBranch, readBranches } from './branch-file.ts';
import { layoutOf, type StoreContext, sessionName } from './context.ts';
import { layerProblem } from './drift.ts';
import { imageProblem } from './identity.ts';
import type { ReplicaLayout } from './layout.ts';
import { pointIds, readPoint, type StoredPoint } from './point-file.ts';
import { type ReplicaRecord, readRecord, type SealedLayer } from './record.ts';
import { checkLayersOf, treeOf } from './state.ts';
import { strayFiles } from './stray-files.ts';

/** Nothing is wrong with anything but what is named. */
const FINDING = {
  repair: 'none',
  blocksWrites: false,
  layerId: null,
  pointIds: [],
  branchId: null,
} as const satisfies Partial<ReplicaFinding>;

export async function inspectReplica(
  context: StoreContext,
  replicaId: ReplicaId,
): Promise<readonly ReplicaFinding[]> {
  const layout = layoutOf(context, replicaId);
  const record = await reasonOf(() => readRecord(layout));
  if (record === null) {
    if ((await pointIds(layout)).length > 0)
      return [await recordMissing(layout, 'it is not there')];
    throw new UnderstudyError('replica-missing', { replica: replicaId });
  }
  if (typeof record === 'string') return [await recordMissing(layout, record)];
  const { points, findings } = await inspectPoints(layout, record);
  const named = new Set(points.map(({ point }) => point.id));
  const live = {
    ...record,
    partials: record.partials.filter(({ pointId }) => !named.has(pointId)),
  };
  return [
    ...findings,
    ...(await inspectLayers(context, layout, { record: live, points })),
    ...(await inspectMerges(context, { layout, record: live, points })),
    ...inspectPartials(context, layout, live),
    ...(await inspectBranches(layout, live)),
    ...(await inspectStrays(context, layout, { record: live, isWhole: findings.length === 0 })),
  ];
}

async function recordMissing(layout: ReplicaLayout, reason: string): Promise<ReplicaFinding> {
  return {
    ...FINDING,
    kind: 'record-missing',
    object: 'replica.json',
    message: `The record cannot be used: ${reason}. It can be rebuilt from the points and layers, which are then all read again.`,
    repair: 'rehash-layer',
    blocksWrites: true,
    pointIds: await pointIds(layout),
  };
}

async function inspectPoints(layout: ReplicaLayout, record: ReplicaRecord) {
  const points: StoredPoint[] = [];
  const findings: ReplicaFinding[] = [];
  for (const id of await pointIds(layout)) {
    const stored = await reasonOf(async () => {
      const found = await readPoint(layout, id);
      if (found !== null) checkLayersOf(layout, record, found.point);
      return found;
    });
    if (stored === null) continue;
    if (typeof stored !== 'string') points.push(stored);
    else {
      findings.push({
        ...FINDING,
        kind: 'point-unreadable',
        object: `points/${id}.json`,
        message: stored,
        repair: 'drop-points',
        blocksWrites: true,
        pointIds: [id],
      });
    }
  }
  for (const stored of points) findings.push(...(await missingSidecars(layout, stored)));
  return { points, findings };
}

async function missingSidecars(
  layout: ReplicaLayout,
  { point, sidecars }: StoredPoint,
): Promise<readonly ReplicaFinding[]> {
  const findings: ReplicaFinding[] = [];
  for (const name of sidecars) {
    if ((await reasonOf(() => stat(layout.pointSidecar(point.id, name)))) !== MISSING) continue;
    findings.push({
      ...FINDING,
      kind: 'point-unreadable',
      object: `points/${point.id}.${name}`,
      message: `The ${name} state of the point is not there; its disks are not affected.`,
      pointIds: [point.id],
    });
  }
  return findings;
}

type Readable = { readonly record: ReplicaRecord; readonly points: readonly StoredPoint[] };

async function inspectLayers(
  context: StoreContext,
  layout: ReplicaLayout,
  { record, points }: Readable,
): Promise<readonly ReplicaFinding[]> {
  const partial = new Set(record.partials.flatMap(({ layers }) => layers.map(({ id }) => id)));
  const findings: ReplicaFinding[] = [];
  for (const layer of record.layers) {
    if (partial.has(layer.id)) continue;
    const found = await layerFinding(context, layout, { record, layer });
    if (found === null) continue;
    const affected = pointsOver(record, points, layer.id);
    const archives = affected.length > 0 ? [] : await archivesOver(layout, record, layer);
    findings.push({
      ...FINDING,
      ...found,
      message: `${found.message}${heldBy(archives)}`,
      blocksWrites: true,
      layerId: layer.id,
      pointIds: affected,
    });
  }
  return findings;
}

async function layerFinding(
  context: StoreContext,
  layout: ReplicaLayout,
  { record, layer }: { readonly record: ReplicaRecord; readonly layer: SealedLayer },
): Promise<Pick<ReplicaFinding, 'kind' | 'object' | 'message' | 'repair'> | null> {
  const object = `layers/${layer.id}/${layer.disk}`;
  const problem = await layerProblem(layout, record, layer);
  if (problem?.kind === 'missing') {
    const message = `${problem.reason}.`;
    return { kind: 'layer-missing', object: `${object}.qcow2`, message, repair: 'drop-points' };
  }
  const table = await reasonOf(async () => {
    await using _ = await openWalkable(layout.table(layer));
    return null;
  });
  if (table !== null) {
    return {
      kind: 'layer-missing',
      object: `${object}.hash`,
      message: table,
      repair: 'drop-points',
    };
  }
  if (problem === null) return null;
  const canRead = problem.kind === 'changed' && context.verifier !== null;
  return {
    kind: 'layer-changed',
    object: `${object}.qcow2`,
    message: `${problem.reason}.`,
    repair: canRead ? 'rehash-layer' : 'drop-points',
  };
}

function pointsOver(
  record: ReplicaRecord,
  points: readonly StoredPoint[],
  id: LayerId,
): readonly PointId[] {
  const over = points.filter(({ point }) =>
    point.disks.some(({ layerId }) =>
      chainTo(record.layers, layerId).some((each) => each.id === id),
    ),
  );
  return over.map(({ point }) => point.id);
}

/** Those whose disks read through it. One that cannot be read is a finding of its own. */
async function archivesOver(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  { id, disk }: SealedLayer,
): Promise<readonly BranchId[]> {
  const branches = await reasonOf(() => readBranches(layout));
  if (typeof branches === 'string') return [];
  const over = branches.filter(
    ({ state, disks }) =>
      state === 'archived' &&
      disks.some(
        ({ key, layerId }) =>
          key === disk && chainTo(record.layers, layerId).some((each) => each.id === id),
      ),
  );
  return over.map((branch) => branch.id);
}

/** What no repair can end: the layer stays for as long as an archive lies over it. */
function heldBy(archives: readonly BranchId[]): string {
  if (archives.length === 0) return '';
  const [names, them] = [archives.join(', '), archives.length === 1 ? 'it' : 'them'];
  return ` No restore point reads it any more, only archive ${names}: it goes with ${them}.`;
}

/** One that must wait for an open branch is waiting, not left: tidying goes on with it when it can. */
async function inspectMerges(
  context: StoreContext,
  state: Readable & { readonly layout: ReplicaLayout },
): Promise<readonly ReplicaFinding[]> {
  if (state.record.merges.length === 0) return [];
  const branches = await reasonOf(() => readBranches(state.layout));
  // One that cannot be read is a finding of its own, and may be open.
  if (typeof branches === 'string') return [];
  const tree = treeOf(context, { ...state, branches });
  const left = state.record.merges.filter((merge) => mayContinueMerge(tree, merge));
  return left.map(({ layerId, intoId }) => ({
    ...FINDING,
    kind: 'merge-unfinished',
    object: `layers/${layerId}`,
    message: `It is being merged into ${intoId}; no point is affected.`,
    repair: 'finish-merge',
    layerId,
  }));
}

/** One that is being served now is at work, not left. */
function inspectPartials(
  context: StoreContext,
  layout: ReplicaLayout,
  record: ReplicaRecord,
): readonly ReplicaFinding[] {
  const left = record.partials.filter(({ pointId }) => {
    const name = sessionName.ofPartial(layout.replicaId, pointId);
    return !context.server.sessions(name).includes(name);
  });
  return left.map(({ pointId }) => ({
    ...FINDING,
    kind: 'partial-left',
    object: pointId,
    message: 'A point that was never completed; the next run may still continue it.',
    repair: 'discard-partial',
  }));
}

async function inspectBranches(
  layout: ReplicaLayout,
  record: ReplicaRecord,
): Promise<readonly ReplicaFinding[]> {
  const findings: ReplicaFinding[] = [];
  for (const id of await branchIds(layout)) {
    const about = { ...FINDING, branchId: id };
    const branch = await reasonOf(() => readBranch(layout, id));
    if (branch === null || typeof branch === 'string') {
      const message = branch ?? 'It has no branch.json.';
      const object = `branches/${id}`;
      findings.push({ ...about, kind: 'foreign-file', object, message, blocksWrites: true });
      continue;
    }
    // A promoted branch stands alone; any other one needs what it was made over.
    const lost = branch.disks.filter(
      ({ layerId }) => !record.layers.some((layer) => layer.id === layerId),
    );
    findings.push(...(await missingArchive(layout, branch)));
    for (const { key, layerId } of branch.state === 'promoted' ? [] : lost) {
      const object = `branches/${id}/${key}.qcow2`;
      const message = `Layer ${layerId}, which it lies over, is not recorded.`;
      findings.push({ ...about, kind: 'layer-missing', object, message, layerId });
    }
    if (branch.state !== 'archived') continue;
    for (const { key, layerId, identity } of branch.disks) {
      const problem = await imageProblem({
        path: layout.branchImage(id, key),
        identity,
        backingNames: [backingOf(branch, { key, layerId })],
      });
      if (problem === null) continue;
      const object = `branches/${id}/${key}.qcow2`;
      const message = `The archived branch is not what it was: ${problem.reason}.`;
      findings.push({ ...about, kind: 'layer-changed', object, message });
    }
  }
  return findings;
}

/** A branch that lies over an archived one cannot be read without it. */
async function missingArchive(
  layout: ReplicaLayout,
  { id, overBranchId, state }: BranchFile,
): Promise<readonly ReplicaFinding[]> {
  if (overBranchId === null || state === 'promoted') return [];
  const below = await reasonOf(() => readBranch(layout, overBranchId));
  if (below !== null && typeof below !== 'string') return [];
  const message = `The archived branch ${overBranchId}, which it lies over, is not there.`;
  const about = { object: `branches/${id}`, message, branchId: id };
  return [{ ...FINDING, ...about, kind: 'layer-missing' }];
}

async function inspectStrays(
  context: StoreContext,
  layout: ReplicaLayout,
  known: { readonly record: ReplicaRecord; readonly isWhole: boolean },
): Promise<readonly ReplicaFinding[]> {
  const isReading = context.server.sessions(sessionName.ofReading(layout.replicaId, '')).length > 0;
  return (await strayFiles(layout, { ...known, isReading })).map(({ object, isDebris }) => ({
    ...FINDING,
    kind: 'foreign-file',
    object,
    message: isDebris ? 'Left by an interrupted command.' : 'Nobody knows what this is.',
    repair: isDebris ? 'delete-debris' : 'none',
  }));
}

const MISSING = 'it is not there';

/** The result, or why there is none, for people. */
async function reasonOf<Result>(run: () => Promise<Result>): Promise<Result | string> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return MISSING;
    return error instanceof Error ? error.message : String(error);
  }
}
