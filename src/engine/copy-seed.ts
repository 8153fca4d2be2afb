/**
 * Seeding: before the first freeze, content that is at the target already is copied into the layers of the first point to
 * be, at the target alone, and hashed on the way. What then crosses from the source is what differs from it. No restore point
 * ever shows the seed: until the seal its layers are a partial point like any other, and are discarded as one.
 *
 *   open the seed (read-only) → open the partial → copy disk by disk → settle: the layers hold what the seed held
 */
import { UnderstudyError } from '../domain/error.ts';
import { type DiskKey, operationKey, type ReplicaId } from '../domain/ids.ts';
import { type Seed, seededDisks, seedUnfit } from '../domain/replication/seed.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { OpenPartialDisk, ReadableDisk, SeedImage } from '../ports/replica-store.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Run } from './make-point.ts';
import { progressOf } from './move-blocks.ts';
import { nameFullStorage, whileRoomLasts } from './storage-room.ts';
import { orLeaveToSweeper, readingTemporary, UNDO_PATIENCE_MS } from './temporaries.ts';

/** The disks that were seeded; none where the replica is not, or has a point to lie over. */
export async function copySeed(
  ports: EnginePorts,
  context: OperationContext,
  run: Run,
): Promise<readonly DiskKey[]> {
  const { seed } = run.replica;
  if (seed === null || run.newest !== null) return [];
  const readingKey = operationKey(context.operationId, 'copy-seed');
  const reading = readingTemporary(readingKey, run.replica, readId(run, seed), run.startedAt);
  await context.record('register-seed', [{ type: 'temporary-registered', temporary: reading }], {
    undo: 'nothing',
  });
  const seeded = await readSeed(ports, context, run, seed);
  await context.record('release-seed', [{ type: 'temporary-released', key: readingKey }], {
    undo: 'nothing',
  });
  return seeded;
}

function readSeed(
  ports: EnginePorts,
  context: OperationContext,
  run: Run,
  seed: Seed,
): Promise<readonly DiskKey[]> {
  return context.step<readonly DiskKey[]>('copy-seed', {
    do: (started) =>
      whileRoomLasts(ports, run, started.signal, (signal) =>
        copy(ports, context, { run, seed, attempt: { ...started, signal } }),
      ),
    undo: async ({ key, signal }) => {
      const tidying = { clock: run.clock, patienceMs: UNDO_PATIENCE_MS, signal };
      await orLeaveToSweeper(tidying, async (options) => {
        // A controller that died while it read, and was told to cancel when it came back, leaves it open.
        await closeSeed(run, seed, key, options);
        const { id: replicaId, epoch } = run.replica;
        const command = { key, replicaId, epoch, pointId: run.pointId };
        await run.target.store.discardPartial(command, options);
      });
    },
  });
}

type Copy = { readonly run: Run; readonly seed: Seed; readonly attempt: StepAttempt };

async function copy(
  ports: EnginePorts,
  context: OperationContext,
  work: Copy,
): Promise<readonly DiskKey[]> {
  const { run, seed, attempt } = work;
  const { signal } = attempt;
  const vm = await run.source.hypervisor.vm(run.replica.sourceVmId, { signal });
  try {
    const opened = await openSeed(work, vm);
    const ofVm = vm.disks.map(({ key }) => key);
    const seeded = seededDisks(
      seed,
      ofVm,
      opened.map(({ key }) => key),
    );
    const partial = await openAnew(work, vm);
    const report = progressOf(context, 'copy-seed', seeded.length);
    for (const [index, key] of seeded.entries()) {
      const request = { key: attempt.key, ...localCopy(key, opened, partial) };
      const options = { signal, onProgress: report(index) };
      await ports.mover
        .transfer(request, options)
        .catch((error: unknown) => nameFullStorage(ports, run, error));
    }
    await run.target.store.settlePartial(partialOf(work), { signal });
    return seeded;
  } finally {
    // A fresh signal: what was opened must be closed also when the copy was cancelled.
    await closeSeed(run, seed, attempt.key, { signal: new AbortController().signal });
  }
}

function partialOf({ run, attempt }: Copy) {
  const { id: replicaId, epoch } = run.replica;
  return { key: attempt.key, replicaId, epoch, pointId: run.pointId };
}

/** What an earlier attempt left may hold blocks that the seed does not have any more. */
async function openAnew(work: Copy, { disks }: VmDescription): Promise<readonly OpenPartialDisk[]> {
  const { store } = work.run.target;
  const { signal } = work.attempt;
  await store.discardPartial(partialOf(work), { signal });
  const layers = disks.map(
    ({ key, sizeBytes }) => ({ key, sizeBytes, base: 'none', wantsKnownHashes: false }) as const,
  );
  return store.openPartial({ ...partialOf(work), parentPointId: null, disks: layers }, { signal });
}

function localCopy(
  key: DiskKey,
  opened: readonly ReadableDisk[],
  partial: readonly OpenPartialDisk[],
) {
  const from = opened.find((disk) => disk.key === key);
  const into = partial.find((disk) => disk.key === key);
  if (from === undefined || into === undefined) throw new RangeError(`disk ${key} is not open`);
  return {
    source: from.endpoint,
    target: into.target,
    sizeBytes: from.sizeBytes,
    extents: { type: 'allocated' },
    targetReads: 'zeros',
    knownHashesPath: null,
    recordsPath: into.recordsPath,
    // Nothing crosses the link.
    bytesPerSecondMax: null,
  } as const;
}

/** Serves it read-only. Throws `seed-unfit`, `image-in-use`, and what the hosts throw. */
async function openSeed(work: Copy, vm: VmDescription): Promise<readonly ReadableDisk[]> {
  const { run, seed, attempt } = work;
  const { store } = run.target;
  const { signal } = attempt;
  const { id: replicaId, epoch } = run.replica;
  if (seed.type === 'replica') return openPoint(work, seed, vm);
  const images = await seedImages(run.target, seed, { signal });
  const files = images.flatMap((image) => {
    const disk = vm.disks.find(({ key }) => key === image.key);
    return disk === undefined ? [] : [{ ...image, sizeBytesMax: disk.sizeBytes }];
  });
  if (files.length === 0) {
    seededDisks(
      seed,
      vm.disks.map(({ key }) => key),
      images.map(({ key }) => key),
    );
  }
  return store.openSeed({ key: attempt.key, replicaId, epoch, files }, { signal });
}

async function openPoint(
  { run, attempt }: Copy,
  seed: Extract<Seed, { type: 'replica' }>,
  { disks }: VmDescription,
): Promise<readonly ReadableDisk[]> {
  const { store } = run.target;
  const { key, signal } = attempt;
  const { replicaId } = seed;
  const epoch = await store.epoch(replicaId, { signal });
  const newest = epoch === null ? undefined : (await store.points(replicaId, { signal })).at(-1);
  if (epoch === null || newest === undefined) throw seedUnfit(seed, 'it has no restore point');
  const of = { pointId: newest.id };
  const sizesMax = Object.fromEntries(disks.map((disk) => [disk.key, disk.sizeBytes]));
  return store.openReading({ key, replicaId, epoch, of, sizesMax }, { signal });
}

/** The image files that a seed is made of. Throws `seed-unfit`, and what the hypervisor throws. */
export async function seedImages(
  { hypervisor }: Pick<HostViews, 'hypervisor'>,
  seed: Exclude<Seed, { type: 'replica' }>,
  options: CallOptions,
): Promise<readonly SeedImage[]> {
  if (seed.type === 'files') return seed.files.map((file) => ({ ...file, format: null }));
  const vm = await hypervisor.vm(seed.vmId, options).catch((error: unknown) => {
    const isMissing = error instanceof UnderstudyError && error.code === 'vm-missing';
    throw isMissing ? seedUnfit(seed, 'it is not there any more') : error;
  });
  if (vm.power !== 'off') throw seedUnfit(seed, `it is ${vm.power}, and must be off`);
  return vm.disks.map(({ key, path, format }) => ({ key, path, format }));
}

async function closeSeed(
  run: Run,
  seed: Seed,
  key: StepAttempt['key'],
  options: CallOptions,
): Promise<void> {
  const { epoch } = run.replica;
  await run.target.store.closeReading({ key, replicaId: readId(run, seed), epoch }, options);
}

function readId({ replica }: Run, seed: Seed): ReplicaId {
  return seed.type === 'replica' ? seed.replicaId : replica.id;
}
