/**
 * Observers of the invariants of the life cycle (design, section 5), independent of the code that has to keep
 * them: they look at the world itself and at what the catalogue says, and answer what is violated, in words.
 * Some hold at every instant (`everyStep`), some only when nothing is under way (`whenIdle`). Those that
 * compare with the past need one `createCheckers` per world, called after every step.
 */
import type { HostId, ReplicaId, VmId } from '../domain/ids.ts';
import { hasEnded, type OperationRecord, RUNS_BESIDE } from '../domain/operation/operation.ts';
import type { ConditionName, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Temporary } from '../ports/catalog.ts';
import { marksForgetNothing } from './checkers-of-changes.ts';
import { guardsHoldSources } from './checkers-of-guards.ts';
import { createHistoryCheckers } from './checkers-of-history.ts';
import {
  createPromiseCheckers,
  keptBranchesAreThere,
  pointsAreHashed,
  servingReplicasCanRun,
} from './checkers-of-promises.ts';
import { diskAt } from './files.ts';
import type { SimulatedHost } from './host.ts';
import {
  connectedByIdentity,
  differenceBetween,
  isDrifted,
  pointContents,
  temporariesOf,
} from './observation.ts';
import type { SimulatedVm } from './vm.ts';
import type { World } from './world.ts';

/** What the catalogue and the journal say at the moment. */
export type CatalogueView = {
  readonly replicas: readonly Replica[];
  readonly points: ReadonlyMap<ReplicaId, readonly RestorePoint[]>;
  readonly operations: readonly OperationRecord[];
  readonly conditions: ReadonlyMap<ReplicaId, readonly ConditionName[]>;
  /** Ids of operations that were acknowledged to whoever asked. */
  readonly acknowledged: readonly string[];
  /** Identities (ids of source VMs) whose duplicate on the network is accepted and recorded. */
  readonly acceptedDuplicates: ReadonlySet<string>;
  /** What is registered to be swept. */
  readonly temporaries?: readonly Temporary[];
  /** Where a person asked for sources to be held back. */
  readonly guardedHosts?: ReadonlySet<HostId>;
};

/** One sentence per violation; none is good. */
export type Checker = (world: World, view: CatalogueView) => string[];

export type Checkers = { readonly everyStep: Checker; readonly whenIdle: Checker };

export const EMPTY_VIEW: CatalogueView = {
  replicas: [],
  points: new Map(),
  conditions: new Map(),
  operations: [],
  acknowledged: [],
  acceptedDuplicates: new Set(),
};

export function createCheckers(): Checkers {
  const ofHistory = createHistoryCheckers();
  const always = [
    pointsAreExact,
    oneOperationPerReplica,
    oneConnectedInstance,
    nothingAcknowledgedIsForgotten,
    replicasAtRestAreOff,
    noGuestWasPaused,
    marksForgetNothing,
    ...ofHistory,
    ...createPromiseCheckers(),
  ];
  const idle = [
    pointsAreHashed,
    keptBranchesAreThere,
    servingReplicasCanRun,
    registerIsEmpty,
    everythingEnded,
    catalogueMatchesStore,
    replicasAtRestCannotStart,
    nothingTemporaryIsLeft,
    onlyNamedMarks,
    guardsHoldSources,
  ];
  const all = (checkers: readonly Checker[]): Checker => {
    return (world, view) => checkers.flatMap((check) => check(world, view));
  };
  return { everyStep: all(always), whenIdle: all([...always, ...idle]) };
}

/** 1: a restore point reads what its source held at its instant. Points that somebody tampered with are excused. */
export function pointsAreExact(world: World): string[] {
  return [...pointContents(world)].flatMap(([name, { host, folder, point, key, read }]) => {
    if (isDrifted(world, folder, point)) return [];
    // By the moment alone: what a failback brings home was frozen at the replica, under another identity perhaps.
    const instants = world.instants.filter(({ takenAt }) => takenAt === point.takenAt);
    const differences = instants.map(({ disks }) => {
      const wanted = disks.get(key);
      return wanted === undefined ? 'the disk was not frozen' : differenceBetween(read, wanted);
    });
    if (differences.includes(null)) return [];
    const why = differences[0] ?? 'its instant was never frozen';
    return [`restore point ${name} on ${host.id} is not its instant: ${why}`];
  });
}

/** 3 */
function oneOperationPerReplica(_world: World, { operations }: CatalogueView): string[] {
  const running = new Map<string, string[]>();
  for (const { id, kind, subject, state } of operations) {
    if (kind === 'verify' || kind === 'sweep' || RUNS_BESIDE.includes(kind)) continue;
    if (state !== 'running' && state !== 'compensating') continue;
    running.set(subject, [...(running.get(subject) ?? []), `${kind} ${id}`]);
  }
  return [...running]
    .filter(([, names]) => names.length > 1)
    .map(([subject, names]) => `several operations change ${subject}: ${names.join(', ')}`);
}

/** 5; and 10, because a source whose host did not answer may serve: then `unfenced-source` is what excuses the two. */
function oneConnectedInstance(world: World, { acceptedDuplicates }: CatalogueView): string[] {
  return [...connectedByIdentity(world)]
    .filter(([identity, vms]) => vms.length > 1 && !acceptedDuplicates.has(identity))
    .map(([identity, vms]) => {
      const places = vms.map(({ hostId, vm }) => `${vm.state.name} on ${hostId}`).join(', ');
      return `${identity} is connected more than once: ${places}`;
    });
}

/** 8 */
function nothingAcknowledgedIsForgotten(
  _world: World,
  { operations, acknowledged }: CatalogueView,
): string[] {
  const known = new Set<string>(operations.map(({ id }) => id));
  return acknowledged
    .filter((id) => !known.has(id))
    .map((id) => `operation ${id} was acknowledged and is forgotten`);
}

/** 8: with nothing under way, an operation has ended or waits for a person. */
function everythingEnded(_world: World, { operations }: CatalogueView): string[] {
  return operations
    .filter(({ state }) => !hasEnded(state) && state !== 'suspended')
    .map(({ id, kind, state }) => `${kind} ${id} is still ${state}`);
}

/** Section 4: the phase is recorded before the replica starts, and after it stopped. Forced undos are excused. */
function replicasAtRestAreOff(world: World, { replicas, conditions }: CatalogueView): string[] {
  return replicas.flatMap((replica) => {
    const host = world.hosts.get(replica.targetHostId);
    if (host === undefined || !isAtRest(replica)) return [];
    if (conditions.get(replica.id)?.includes('cleanup-pending') === true) return [];
    return replicaVms(host, replica.id)
      .filter((vm) => vm.power !== 'off')
      .map((vm) => `replica ${vm.state.name} is ${replica.phase} and its VM is ${vm.power}`);
  });
}

function isAtRest({ phase }: Replica): boolean {
  return phase === 'Pending' || phase === 'Ready';
}

function replicaVms(host: SimulatedHost, id: ReplicaId): readonly SimulatedVm[] {
  return [...host.vms.values()].filter((vm) => vm.state.replicaId === id);
}

/**
 * A guest in production that waits for its disk: the one thing replication must never cause. One that stands in, is tested, or
 * runs on the working layers of a failback that is not decided yet, writes to that storage itself, and has to wait when it is full.
 */
export function noGuestWasPaused(world: World): string[] {
  return [...world.hosts.values()].flatMap((host) =>
    [...host.vms.values()].flatMap((vm) =>
      vm.state.replicaId !== null || vm.state.testId !== undefined
        ? []
        : vm.pauses
            .filter((because) => !because.includes(host.storage.path))
            .map((because) => `guest ${vm.state.name} on ${host.id} was paused: ${because}`),
    ),
  );
}

/**
 * 1: what the catalogue lists exists, and the other way round. Hosts that cannot be reached are excused.
 */
function catalogueMatchesStore(world: World, view: CatalogueView): string[] {
  return view.replicas.flatMap((replica) => {
    const host = world.hosts.get(replica.targetHostId);
    const ended = replica.phase === 'Permanent' || replica.phase === 'Removed';
    if (host === undefined || host.isUnreachable || ended) return [];
    const stored = new Set<string>(host.replicas.get(replica.id)?.points.keys() ?? []);
    const listed = new Set<string>((view.points.get(replica.id) ?? []).map(({ id }) => id));
    return [...new Set([...stored, ...listed])]
      .filter((id) => stored.has(id) !== listed.has(id))
      .map((id) => {
        const where = stored.has(id) ? 'only in the store' : 'only in the catalogue';
        return `restore point ${id} of ${replica.name} is ${where}`;
      });
  });
}

/** 4: with nothing under way, a replica at rest has no disk that a start by hand would find. */
function replicasAtRestCannotStart(world: World, { replicas }: CatalogueView): string[] {
  return replicas.filter(isAtRest).flatMap((replica) => {
    const host = world.hosts.get(replica.targetHostId);
    if (host === undefined || host.isUnreachable) return [];
    return replicaVms(host, replica.id)
      .flatMap((vm) => vm.state.disks.map(({ path }) => path))
      .filter((path) => diskAt(world.files, path) !== null)
      .map((path) => `replica ${replica.name} at rest could be started from ${path}`);
  });
}

/** 9 */
function nothingTemporaryIsLeft(world: World, { replicas }: CatalogueView): string[] {
  const left = temporariesOf(world).map((name) => `left behind: ${name}`);
  const underWay = new Set(replicas.map(({ failback }) => failback?.id));
  for (const host of world.hosts.values()) {
    for (const id of host.failbacks.keys()) {
      if (!underWay.has(id)) left.push(`left behind: working layers ${id} on ${host.id}`);
    }
  }
  for (const host of world.hosts.values()) {
    for (const folder of host.replicas.values()) {
      const replica = replicas.find(({ id }) => id === folder.id);
      if (replica?.phase === 'Removed') continue; // its files were left in place on purpose
      const known = new Set<string>(replica?.archives.map(({ branchId }) => branchId) ?? []);
      if (replica?.failover != null) known.add(replica.failover.branchId);
      for (const id of folder.branches.keys()) {
        if (!known.has(id)) left.push(`left behind: branch ${id} on ${host.id}`);
      }
    }
  }
  return left;
}

/** 9: with nothing under way and every host answering, there is nothing left to sweep. */
function registerIsEmpty(world: World, { temporaries = [] }: CatalogueView): string[] {
  return temporaries
    .filter(({ hostId }) => world.hosts.get(hostId)?.isUnreachable === false)
    .map(({ kind, key }) => `still registered: ${kind} ${key}`);
}

/** 9: of our change marks, only those that somebody needs are kept; one that nobody needs any more may wait for its sweep. */
function onlyNamedMarks(world: World, view: CatalogueView): string[] {
  const found: string[] = [];
  for (const host of world.hosts.values()) {
    for (const vm of host.vms.values()) {
      const needed = new Set([...marksNeededOn(host, vm, view), ...marksInDoubt(world, view)]);
      for (const { key, path } of vm.state.disks) {
        const marks = [...(diskAt(world.files, path)?.marks ?? [])];
        const ours = marks.filter(([, mark]) => mark.isOurs).map(([name]) => name);
        const idle = ours.filter((name) => !needed.has(name));
        if (ours.length < 2 || idle.length <= leftBehind(host, vm, view)) continue;
        found.push(`disk ${key} of ${vm.state.name} has marks for nothing: ${idle.join(', ')}`);
      }
    }
  }
  return found;
}

/**
 * How many replicas went on from the VM for good, or are never run again since one was made permanent: the last mark of each, whose
 * point a repair may have dropped, waits for the next run of another replica, if there is one. So does what the layers of a failback
 * hid from a replica that stands in by now.
 */
function leftBehind(host: SimulatedHost, vm: SimulatedVm, { replicas }: CatalogueView): number {
  const isHere = (place: { readonly hostId: HostId; readonly vmId: VmId } | null) =>
    place?.hostId === host.id && place.vmId === vm.id;
  const isFrom = ({ sourceHostId, sourceVmId }: Replica) =>
    isHere({ hostId: sourceHostId, vmId: sourceVmId });
  const isReplaced = replicas.some((one) => one.phase === 'Permanent' && isFrom(one));
  const standsIn = ({ phase }: Replica) => phase !== 'Ready' && phase !== 'Pending';
  const goesOn = (one: Replica) => isFrom(one) && (isReplaced || standsIn(one));
  return replicas.filter((one) => isHere(one.formerSource) || goesOn(one)).length;
}

/** What the partial point of an ended run would name as a point: a target that does not answer cannot tell whether it was sealed. */
function marksInDoubt(world: World, { temporaries = [] }: CatalogueView): readonly string[] {
  return temporaries
    .filter(({ kind, hostId }) => {
      return kind === 'partial-point' && world.hosts.get(hostId)?.isUnreachable === true;
    })
    .map(({ identity }) => `us-${identity.pointId}`);
}

/** A source needs what the newest points of its replicas name, or will once a failback to it is kept; a stand-in what a failback asks it for. */
function marksNeededOn(
  host: SimulatedHost,
  vm: SimulatedVm,
  { replicas, points }: CatalogueView,
): readonly (string | null)[] {
  return replicas.flatMap((replica) => {
    const { id, sourceVmId, sourceHostId, targetVmId, targetHostId, failover, failback } = replica;
    const needed: (string | null)[] = [];
    if (sourceVmId === vm.id && sourceHostId === host.id) {
      const newest = points.get(id)?.at(-1);
      needed.push(...(newest?.disks ?? []).map(({ mark }) => mark));
    }
    if (targetVmId === vm.id && targetHostId === host.id && failover !== null) {
      needed.push(`us-${failover.branchId}`, failback?.syncedMark ?? null);
    }
    if (failback?.home.vmId === vm.id && failback.home.hostId === host.id) {
      if (failback.switched !== null) needed.push(`us-${failback.switched.pointId}`);
    }
    return needed;
  });
}
