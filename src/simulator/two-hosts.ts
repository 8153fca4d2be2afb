/** A small world for tests: one protected VM on `production`, room for its replica on `recovery`. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import {
  type DiskKey,
  diskKey,
  hostId,
  markName,
  operationId,
  operationKey,
  type PointId,
  pointId,
  replicaId,
} from '../domain/ids.ts';
import { DEFAULT_SCRATCH } from '../domain/job/job.ts';
import { planTransfer, type TransferPlan } from '../domain/replication/transfer.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { FrozenDisk, FrozenPoint } from '../ports/point-source.ts';
import type { OpenPartialDisk } from '../ports/replica-store.ts';
import type { ClockMode } from './clock.ts';
import type { HostSpec, SimulatedHost } from './host.ts';
import type { SimulatedVm } from './vm.ts';
import type { VmSpec } from './vm-factory.ts';
import { type ControllerView, createWorld, type World } from './world.ts';

export const PRODUCTION = hostId('production');
export const RECOVERY = hostId('recovery');
export const REPLICA = replicaId('rp-web');
export const ROOT = diskKey('vda');
export const LEDGER = diskKey('vdb');

export type TwoHosts = {
  readonly world: World;
  readonly production: SimulatedHost;
  readonly recovery: SimulatedHost;
  readonly vm: SimulatedVm;
};

export type TwoHostsSpec = {
  readonly seed?: number;
  readonly mode?: ClockMode;
  readonly vm?: Partial<VmSpec>;
  readonly recovery?: Partial<HostSpec>;
  readonly production?: Partial<HostSpec>;
};

/** Disk `vda` of 64 blocks and `vdb` of 128, to which the guest appends a record a second; running. */
export function createTwoHosts(spec: TwoHostsSpec = {}): TwoHosts {
  const world = createWorld({ seed: spec.seed ?? 1, mode: spec.mode ?? 'automatic' });
  const production = world.addHost({ id: PRODUCTION, ...spec.production });
  const recovery = world.addHost({ id: RECOVERY, ...spec.recovery });
  const vm = world.addVm(production, {
    name: 'web',
    disks: [
      { key: ROOT, sizeBytes: 64 * BLOCK_BYTES },
      { key: LEDGER, sizeBytes: 128 * BLOCK_BYTES },
    ],
    guest: { ledger: { disk: LEDGER, everyMs: 1000 } },
    ...spec.vm,
  });
  vm.start();
  for (let block = 0; block < 8; block += 1) vm.write(ROOT, block, `boot-${block}`);
  return { world, production, recovery, vm };
}

export const NEVER: CallOptions = { signal: new AbortController().signal };

export type Replication = {
  readonly controller: ControllerView;
  readonly vm: SimulatedVm;
  /** Names the point, its mark and its operation. */
  readonly name: string;
  readonly options?: CallOptions;
};

/** One run as the engine does it, without its durability: for tests of the world itself. */
export async function replicateOnce(run: Replication): Promise<RestorePoint> {
  const { controller, vm, name, options = NEVER } = run;
  const { pointSource } = await controller.hosts.commands(PRODUCTION);
  const { store } = await controller.hosts.commands(RECOVERY);
  const key = operationKey(operationId(name), 'freeze');
  const command = { key, replicaId: REPLICA, epoch: 1 };
  const id = pointId(name);
  const mark = markName(`us-${name}`);
  await store.createReplica({ ...command, name: 'web-replica' }, options);
  const newest = (await store.points(REPLICA, options)).at(-1) ?? null;
  const since = Object.fromEntries(
    (newest?.disks ?? []).flatMap((disk) => (disk.mark === null ? [] : [[disk.key, disk.mark]])),
  );
  const disks = vm.state.disks.map((disk) => disk.key);
  const frozen = await pointSource.freeze(
    { key, vmId: vm.id, disks, mark, since, quiesce: 'never', scratch: DEFAULT_SCRATCH },
    options,
  );
  const moved = await moveAll(run, frozen, newest, id);
  await pointSource.check({ key, vmId: vm.id }, options);
  await pointSource.end({ key, vmId: vm.id }, options);
  const { takenAt, consistency } = frozen;
  const sealedAt = controller.clock.now();
  const point = {
    id,
    takenAt,
    sealedAt,
    consistency,
    disks: moved,
    vm: frozen.vm,
    isPinned: false,
  };
  const sealed = await store.sealPartial({ ...command, point, sidecars: frozen.sidecars }, options);
  await pointSource.sweepMarks({ vmId: vm.id, keep: [mark] }, options);
  return sealed;
}

async function moveAll(
  { controller, options = NEVER }: Replication,
  frozen: FrozenPoint,
  newest: RestorePoint | null,
  id: PointId,
) {
  const { store } = await controller.hosts.commands(RECOVERY);
  const plans = frozen.disks.map((disk) => {
    const known = newest?.disks.find((candidate) => candidate.key === disk.key) ?? null;
    return planTransfer(disk, known, newest !== null);
  });
  const key = operationKey(operationId(id), 'move');
  const parentPointId = newest?.id ?? null;
  const partial = await store.openPartial(
    {
      key,
      replicaId: REPLICA,
      epoch: 1,
      pointId: id,
      parentPointId,
      disks: plans.map((plan) => ({
        key: plan.key,
        sizeBytes: found(frozen.disks, plan.key).sizeBytes,
        base: plan.base,
        wantsKnownHashes: plan.kind === 'resync',
      })),
    },
    options,
  );
  const moved = [];
  for (const plan of plans) {
    const source = found(frozen.disks, plan.key);
    const request = { key, ...transferOf(plan, source, found(partial, plan.key)) };
    const { sentBytes } = await controller.mover.transfer(request, options);
    const { because, kind: transfer } = plan;
    const { sizeBytes, mark } = source;
    moved.push({ key: plan.key, sizeBytes, transfer, because, sentBytes, mark });
  }
  return moved;
}

function transferOf(plan: TransferPlan, source: FrozenDisk, target: OpenPartialDisk) {
  return {
    source: source.endpoint,
    target: target.target,
    sizeBytes: source.sizeBytes,
    extents: plan.kind === 'incremental' ? source.extents : ({ type: 'allocated' } as const),
    targetReads: plan.base === 'none' ? ('zeros' as const) : ('parent' as const),
    knownHashesPath: target.knownHashesPath,
    recordsPath: target.recordsPath,
    bytesPerSecondMax: null,
  };
}

function found<T extends { readonly key: DiskKey }>(disks: readonly T[], key: DiskKey): T {
  const disk = disks.find((candidate) => candidate.key === key);
  if (disk === undefined) throw new Error(`there is no disk ${key}`);
  return disk;
}
