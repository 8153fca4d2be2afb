/**
 * One pass of a failback: what the replica has written goes into the working layers over production's disks.
 *
 *   first pass    what the replica wrote since its failover
 *               ∪ the layers between the point failed over to and production's newest point
 *               ∪ what production wrote since that point
 *                 (where a mark was lost: what differs from the point failed over to, found by its hashes)
 *   later passes  what the replica wrote since the pass before
 *
 * The replica is read from a frozen instant, so it serves on; only blocks that may differ are read at all.
 */
import { allBlocks, type BlockSet, blocksFrom, union } from '../domain/disk/block-set.ts';
import { extendLayers, type LayerPlan } from '../domain/failover/failback.ts';
import type { DiskKey, FailbackId, MarkName, OperationKey, VmId } from '../domain/ids.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { FrozenDisk, FrozenPoint } from '../ports/point-source.ts';
import type { WorkingDisk } from '../ports/production-disks.ts';
import { type FailbackFacts, layersCommand, markOfPass } from './failback-facts.ts';
import { markOfBranch } from './kept-marks.ts';
import { whileRegistered } from './registered-reading.ts';
import { orLeaveToSweeper, UNDO_PATIENCE_MS } from './temporaries.ts';
import { whileFrozen } from './while-frozen.ts';

export type Pass = {
  readonly facts: FailbackFacts;
  readonly home: HostPorts;
  readonly failbackId: FailbackId;
  /** What was laid before this pass. */
  readonly layers: readonly LayerPlan[];
  readonly homeVmId: VmId | null;
  /** Counts from 1. */
  readonly number: number;
  /** Where the pass before left off; null in the first one, and when all must be looked at again. */
  readonly since: MarkName | null;
  readonly freezeKey: OperationKey;
};

export type PassResult = { readonly sentBytes: number; readonly readBytes: number };

/** The replica's disks at one instant, relative to the pass before. */
export function freezeReplica(context: OperationContext, pass: Pass): Promise<FrozenPoint> {
  const { facts, freezeKey, failbackId, number } = pass;
  const command = { key: freezeKey, vmId: facts.replicaVmId };
  const { pointSource, hypervisor } = facts.target;
  const since = pass.since ?? markOfBranch(facts.failover.branchId);
  return context.step<FrozenPoint>('freeze-replica', {
    do: async ({ signal }) => {
      const vm = await hypervisor.vm(facts.replicaVmId, { signal });
      const disks = vm.disks.map(({ key }) => key);
      return pointSource.freeze(
        {
          ...command,
          disks,
          mark: markOfPass(failbackId, number),
          since: Object.fromEntries(disks.map((key) => [key, since])),
          quiesce: 'never',
          scratch: facts.settings.scratch,
        },
        { signal },
      );
    },
    undo: async ({ signal }) => {
      await pointSource.end(command, { signal });
      await sweepReplicaMarks(facts, pass.since, { signal });
    },
  });
}

/** The branch's own mark stays until the failover ends, and that of the pass before until another names the rest. */
export async function sweepReplicaMarks(
  { target, failover, replicaVmId }: FailbackFacts,
  passMark: MarkName | null,
  options: CallOptions,
): Promise<void> {
  const keep = [markOfBranch(failover.branchId), ...(passMark === null ? [] : [passMark])];
  await target.pointSource.sweepMarks({ vmId: replicaVmId, keep }, options);
}

export function copyHome(
  context: OperationContext,
  pass: Pass,
  frozen: FrozenPoint,
): Promise<PassResult> {
  const isWhole = pass.since === null || frozen.disks.some((disk) => hasLostMark(pass, disk));
  if (!isWhole) return copyPass(context, pass, frozen, null);
  const keyName = `survey-${markOfPass(pass.failbackId, pass.number)}`;
  const { replica } = pass.facts;
  return whileRegistered(context, { name: 'survey', keyName, replica }, (surveyKey) =>
    copyPass(context, pass, frozen, surveyKey),
  );
}

/** Without a key for the survey: only what changed since the pass before. */
function copyPass(
  context: OperationContext,
  pass: Pass,
  frozen: FrozenPoint,
  surveyKey: OperationKey | null,
): Promise<PassResult> {
  const { facts, freezeKey } = pass;
  const held = {
    command: { key: freezeKey, vmId: facts.replicaVmId },
    pointSource: facts.target.pointSource,
    scratch: facts.settings.scratch,
    frozenAt: frozen.takenAt,
    clock: facts.clock,
  };
  return context.step<PassResult>('copy-home', {
    do: (attempt) =>
      whileFrozen(held, attempt.signal, (signal) =>
        copyAll(context, pass, { frozen, surveyKey, attempt: { ...attempt, signal } }),
      ),
    undo: async ({ key, signal }) => {
      const command = commandOf(pass, key);
      // A replica that waits to be started again must not wait for a host of production that has died; the next pass, or
      // whoever drops the layers, ends what still serves them there.
      const tidying = { clock: facts.clock, patienceMs: UNDO_PATIENCE_MS, signal };
      await orLeaveToSweeper(tidying, (options) =>
        pass.home.productionDisks.settle(command, options),
      );
      if (surveyKey === null) return;
      // Its host may have gone away while the point was read.
      await facts.target.store.closeReading({ ...command, key: surveyKey }, { signal });
    },
  });
}

function commandOf({ failbackId, facts }: Pass, key: OperationKey) {
  return layersCommand({ id: failbackId }, facts.replica, key);
}

type Copy = {
  readonly frozen: FrozenPoint;
  readonly surveyKey: OperationKey | null;
  readonly attempt: StepAttempt;
};

async function copyAll(
  context: OperationContext,
  pass: Pass,
  { frozen, surveyKey, attempt }: Copy,
): Promise<PassResult> {
  const { productionDisks } = pass.home;
  const command = commandOf(pass, attempt.key);
  const isWhole = surveyKey !== null;
  // What an earlier pass moved may have been changed back since, and no mark tells: begin anew over untouched disks.
  if (pass.number > 1 && isWhole) await productionDisks.drop(command, attempt);
  const disks = extendLayers(pass.layers, frozen.disks);
  const request = { ...command, vmId: pass.homeVmId, disks };
  const working = await productionDisks.lay(request, attempt);
  try {
    const surveyed = isWhole
      ? await surveyAll(pass, frozen, working, { ...attempt, key: surveyKey })
      : addedDisks(pass, frozen);
    return await transferAll(context, pass, { frozen, working, isWhole, surveyed, attempt });
  } finally {
    await productionDisks.settle(command, { signal: new AbortController().signal });
  }
}

/** One that was added since the pass before has none to lose. */
function hasLostMark(pass: Pass, { key, found }: FrozenDisk): boolean {
  return found.type === 'allocated' && isLaid(pass, key);
}

function isLaid({ layers }: Pass, key: DiskKey): boolean {
  return layers.some((layer) => layer.key === key);
}

/** All of them, zeros too: a pass that was cut off may have left something in their layers. */
function addedDisks(pass: Pass, { disks }: FrozenPoint): Surveyed {
  const added = disks.filter(({ key }) => !isLaid(pass, key));
  return new Map(added.map(({ key, sizeBytes }) => [key, allBlocks(sizeBytes)]));
}

type Surveyed = ReadonlyMap<string, BlockSet>;

/** For each disk of the replica the blocks in which production may differ from it. */
async function surveyAll(
  pass: Pass,
  frozen: FrozenPoint,
  working: readonly WorkingDisk[],
  attempt: StepAttempt,
): Promise<Surveyed> {
  const { facts } = pass;
  const { store } = facts.target;
  const point = await failedOverPoint(facts);
  // Retention may take the point that an archive lies over: then nothing tells what production has of it already.
  if (point === null) return wholeDisks(frozen);
  const command = { key: attempt.key, replicaId: facts.replica.id, epoch: facts.replica.epoch };
  const reading = await store.openReading({ ...command, of: { pointId: point.id } }, attempt);
  try {
    const surveyed = new Map<string, BlockSet>();
    for (const disk of frozen.disks) {
      const hashesPath = reading.find(({ key }) => key === disk.key)?.hashesPath ?? null;
      const below = working.find(({ key }) => key === disk.key)?.below ?? null;
      surveyed.set(
        disk.key,
        below === null || hashesPath === null
          ? allBlocks(disk.sizeBytes)
          : union(
              await surveyReplica(pass, disk, hashesPath, attempt),
              await surveyProduction(facts, { point, below, hashesPath }, attempt),
            ),
      );
    }
    return surveyed;
  } finally {
    await store.closeReading(command, { signal: new AbortController().signal });
  }
}

function wholeDisks({ disks }: FrozenPoint): Surveyed {
  return new Map(disks.map(({ key, sizeBytes }) => [key, allBlocks(sizeBytes)]));
}

async function failedOverPoint({
  catalog,
  replica,
  failover,
}: FailbackFacts): Promise<RestorePoint | null> {
  const points = await catalog.points(replica.id);
  return points.find(({ id }) => id === failover.pointId) ?? null;
}

/** What the replica holds that the point failed over to does not. A mark of a later pass says nothing about what came before. */
function surveyReplica(
  { facts, since }: Pass,
  { endpoint, sizeBytes, extents }: FrozenDisk,
  hashesPath: string,
  options: CallOptions,
): Promise<BlockSet> {
  const isTold = since === null && extents.type === 'changed';
  const by = isTold
    ? ({ type: 'changed', metaContext: extents.metaContext } as const)
    : ({ type: 'compared', hashesPath } as const);
  return facts.mover.survey({ endpoint, sizeBytes, by }, options);
}

type Below = {
  readonly point: RestorePoint;
  readonly below: NonNullable<WorkingDisk['below']>;
  readonly hashesPath: string;
};

/** In what production differs from the point failed over to. */
async function surveyProduction(
  facts: FailbackFacts,
  survey: Below,
  options: CallOptions,
): Promise<BlockSet> {
  const { point, below } = survey;
  const written = await surveyBelow(facts, survey, options);
  // Somebody may have made production's disk smaller: nobody reads behind its end, and no mark tells.
  const known = point.disks.find(({ key }) => key === below.key);
  return union(written, blocksFrom(below.sizeBytes, known?.sizeBytes ?? 0));
}

async function surveyBelow(
  facts: FailbackFacts,
  { point, below, hashesPath }: Below,
  options: CallOptions,
): Promise<BlockSet> {
  const { mover, newest, target, replica } = facts;
  const { endpoint, sizeBytes, extents, key } = below;
  if (extents.type !== 'changed' || newest === null) {
    return mover.survey({ endpoint, sizeBytes, by: { type: 'compared', hashesPath } }, options);
  }
  const by = { type: 'changed', metaContext: extents.metaContext } as const;
  const written = await mover.survey({ endpoint, sizeBytes, by }, options);
  if (newest.id === point.id) return written;
  const request = { replicaId: replica.id, fromPointId: point.id, toPointId: newest.id };
  const between = await target.store.differingBlocks(request, options);
  const blocks = between.find((disk) => disk.key === key)?.blocks;
  return union(written, blocks ?? allBlocks(sizeBytes));
}

type Transfers = {
  readonly frozen: FrozenPoint;
  readonly working: readonly WorkingDisk[];
  /** Copied into layers that nobody has written to. */
  readonly isWhole: boolean;
  /** Of a disk that is not in it: what changed since the pass before, by its mark. */
  readonly surveyed: Surveyed;
  readonly attempt: StepAttempt;
};

async function transferAll(
  context: OperationContext,
  { facts }: Pass,
  { frozen, working, isWhole, surveyed, attempt }: Transfers,
): Promise<PassResult> {
  let [sentBytes, readBytes] = [0, 0];
  for (const disk of frozen.disks) {
    const target = working.find(({ key }) => key === disk.key);
    if (target === undefined) throw new Error(`disk ${disk.key} has no working layer`);
    const blocks = surveyed.get(disk.key);
    const isFresh = isWhole && target.below === null;
    const result = await facts.mover.transfer(
      {
        key: attempt.key,
        source: disk.endpoint,
        target: target.layer,
        sizeBytes: disk.sizeBytes,
        extents: extentsOf(disk, blocks, isFresh),
        targetReads: isFresh ? 'zeros' : 'parent',
        knownHashesPath: null,
        recordsPath: null,
        bytesPerSecondMax: facts.settings.bytesPerSecondMax,
      },
      {
        signal: attempt.signal,
        onProgress: (progress) => context.progress({ ...progress, step: 'copy-home' }),
      },
    );
    sentBytes += result.sentBytes;
    readBytes += result.readBytes;
  }
  return { sentBytes, readBytes };
}

function extentsOf(disk: FrozenDisk, blocks: BlockSet | undefined, isFresh: boolean) {
  if (blocks === undefined) return disk.extents;
  return isFresh ? ({ type: 'allocated' } as const) : ({ type: 'listed', blocks } as const);
}
