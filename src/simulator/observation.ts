/** What an all-seeing observer reads in a world, past all ports: for tests and checkers. */
import type { BranchId, DiskKey, HostId, LayerId, PointId, ReplicaId } from '../domain/ids.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { SimulatedHost } from './host.ts';
import { type Blocks, contentOf, type Image } from './image.ts';
import {
  chainOf,
  driftOf,
  type ReplicaFolder,
  requireBranch,
  requireLayer,
  requirePoint,
  type StoredBranch,
} from './replica-folder.ts';
import { requireFolder } from './store.ts';
import type { SimulatedVm } from './vm.ts';
import type { World } from './world.ts';

export type DiskContent = { readonly sizeBytes: number; readonly content: Blocks };

/** Throws `replica-missing`, `point-missing`; null when the point has no such disk. */
export function readPoint(
  host: SimulatedHost,
  replicaId: ReplicaId,
  pointId: PointId,
  key: DiskKey,
): DiskContent | null {
  const folder = requireFolder(host, replicaId);
  const disk = requirePoint(folder, pointId).point.disks.find((one) => one.key === key);
  return disk === undefined ? null : contentOfImage(requireLayer(folder, disk.layerId).image);
}

/** Throws `replica-missing`, `branch-missing`; null when the branch has no such disk. */
export function readBranch(
  host: SimulatedHost,
  replicaId: ReplicaId,
  branchId: BranchId,
  key: DiskKey,
): DiskContent | null {
  const branch = requireBranch(requireFolder(host, replicaId), branchId);
  const disk = branch.disks.find((one) => one.key === key);
  return disk === undefined ? null : contentOfImage(disk.image);
}

/** What a disk of a VM reads now. */
export function readVmDisk(vm: SimulatedVm, key: DiskKey): DiskContent {
  return contentOfImage(vm.image(key));
}

function contentOfImage(image: Image): DiskContent {
  return { sizeBytes: image.sizeBytes, content: contentOf(image) };
}

/** Null when both read the same; else the first difference, for people. */
export function differenceBetween(
  found: { readonly sizeBytes: number; readonly content: ReadonlyMap<number, number | string> },
  wanted: { readonly sizeBytes: number; readonly content: ReadonlyMap<number, number | string> },
): string | null {
  if (found.sizeBytes !== wanted.sizeBytes) {
    return `size is ${found.sizeBytes} instead of ${wanted.sizeBytes}`;
  }
  for (const index of new Set([...wanted.content.keys(), ...found.content.keys()])) {
    const [is, shouldBe] = [found.content.get(index) ?? 0, wanted.content.get(index) ?? 0];
    if (is !== shouldBe) return `block ${index} is ${is} instead of ${shouldBe}`;
  }
  return null;
}

/** Everything that exists for the time being only, anywhere in the world. */
export function temporariesOf(world: World): readonly string[] {
  const found: string[] = [...world.endpoints.addresses()].map((path) => `endpoint ${path}`);
  for (const host of world.hosts.values()) {
    for (const vm of host.vms.values()) {
      if (vm.freeze !== null) found.push(`freeze ${vm.freeze.key} of ${vm.state.name}`);
    }
    for (const [id, { isSealed }] of host.exports) {
      if (!isSealed) found.push(`export ${id} on ${host.id}`);
    }
    for (const vm of host.vms.values()) {
      if (vm.state.testId !== undefined) found.push(`test VM ${vm.state.name} on ${host.id}`);
    }
    for (const id of host.testNetworks) found.push(`network of test ${id} on ${host.id}`);
    for (const key of host.readings.keys()) found.push(`reading ${key} on ${host.id}`);
    for (const folder of host.replicas.values()) {
      for (const id of folder.partials.keys()) found.push(`partial point ${id} on ${host.id}`);
      const { id, merging } = folder;
      if (merging !== null) found.push(`merge of ${merging.layerId} of ${id} on ${host.id}`);
    }
  }
  for (const [path, file] of world.files) if (file.type === 'records') found.push(`table ${path}`);
  return found;
}

export type PointContent = {
  readonly host: SimulatedHost;
  readonly folder: ReplicaFolder;
  readonly point: RestorePoint;
  readonly key: DiskKey;
  readonly read: DiskContent;
};

/** What every disk of every point reads now, by `replica/point/disk`. */
export function pointContents(world: World): ReadonlyMap<string, PointContent> {
  const found = new Map<string, PointContent>();
  for (const host of world.hosts.values()) {
    for (const folder of host.replicas.values()) {
      for (const { point } of folder.points.values()) {
        for (const { key } of point.disks) {
          const read = readPoint(host, folder.id, point.id, key);
          if (read === null) continue;
          found.set(`${folder.id}/${point.id}/${key}`, { host, folder, point, key, read });
        }
      }
    }
  }
  return found;
}

/** Whether somebody tampered with a layer that the point reads through. */
export function isDrifted(world: World, folder: ReplicaFolder, point: RestorePoint): boolean {
  return point.disks.some(({ layerId }) => isChainDrifted(world, folder, layerId));
}

/** The same of a branch, whose point may be gone. */
export function isBranchDrifted(
  world: World,
  folder: ReplicaFolder,
  { disks }: StoredBranch,
): boolean {
  return disks.some(({ parentId }) => isChainDrifted(world, folder, parentId));
}

function isChainDrifted({ files }: World, folder: ReplicaFolder, top: LayerId): boolean {
  return chainOf(folder, top).some((layer) => driftOf(files, folder, layer) !== null);
}

/** Running VMs of one identity that are connected, wherever they are. */
export function connectedByIdentity(world: World): ReadonlyMap<string, readonly HostedVm[]> {
  const found = new Map<string, HostedVm[]>();
  for (const hosted of hostedVms(world)) {
    if (!hosted.vm.isConnected) continue;
    const { identity } = hosted.vm.state;
    found.set(identity, [...(found.get(identity) ?? []), hosted]);
  }
  return found;
}

export function hostedVms(world: World): readonly HostedVm[] {
  return [...world.hosts.values()].flatMap((host) =>
    [...host.vms.values()].map((vm) => ({ hostId: host.id, vm })),
  );
}

export type HostedVm = { readonly hostId: HostId; readonly vm: SimulatedVm };
