/** branches/<id>/branch.json: what a branch lies over and whether it is at rest for good. */
import { z } from 'zod';
import {
  type BranchId,
  branchId,
  type DiskKey,
  type LayerId,
  type MarkName,
  type PointId,
} from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import * as text from '../file-parsing.ts';
import { writeJson } from './durable-file.ts';
import type { FileIdentity } from './identity.ts';
import type { ReplicaLayout } from './layout.ts';
import { namesIn } from './point-file.ts';

export const BRANCH_VERSION = 1;

export type BranchFile = {
  readonly formatVersion: typeof BRANCH_VERSION;
  readonly id: BranchId;
  readonly pointId: PointId;
  /** The archived branch between it and its point; null: it lies over the point itself. */
  readonly overBranchId: BranchId | null;
  /** The instant of its point, and the VM as it was then: the point may go before the branch. Null in older files. */
  readonly takenAt: Instant | null;
  readonly vm: VmDescription | null;
  /** The bitmap that its disks were made with: what was written since its point. Null: none, as in older files. */
  readonly mark: MarkName | null;
  /** `active`: its VM runs or may be started. `archived`: read-only. `promoted`: the VM's own disks. */
  readonly state: 'active' | 'archived' | 'promoted';
  /** Only of an archived one. */
  readonly keepUntil: Instant | null;
  readonly disks: readonly BranchFileDisk[];
  readonly sidecars: readonly Sidecar['name'][];
  /** Of the controller, and only carried through. Null in older files. */
  readonly about: Json;
};

export type BranchFileDisk = {
  readonly key: DiskKey;
  /** The newest layer that it reads through: the one it lies over, or the archived branch below it does. */
  readonly layerId: LayerId;
  /** Recorded when archived; null before, because a running VM changes its disks. */
  readonly identity: FileIdentity | null;
};

const schema: z.ZodType<BranchFile> = z.strictObject({
  formatVersion: z.literal(BRANCH_VERSION),
  id: text.branchIdText,
  pointId: text.pointIdText,
  overBranchId: text.branchIdText.nullable().default(null),
  takenAt: text.moment.nullable().default(null),
  vm: text.vmDescription.nullable().default(null),
  mark: text.markNameText.nullable().default(null),
  state: z.enum(['active', 'archived', 'promoted']),
  keepUntil: text.moment.nullable(),
  disks: z.array(
    z.strictObject({
      key: text.diskKeyText,
      layerId: text.layerIdText,
      identity: text.fileIdentity.nullable(),
    }),
  ),
  sidecars: text.sidecarNames,
  about: z.json().default(null),
});

export function writeBranch(layout: ReplicaLayout, branch: BranchFile): Promise<void> {
  return writeJson(layout.branchFile(branch.id), branch);
}

/** Null when there is no such branch. Throws `invalid-file`. */
export async function readBranch(layout: ReplicaLayout, id: BranchId): Promise<BranchFile | null> {
  return await parseBranchFile(layout.branchFile(id), id);
}

/** The same from a folder that does not have its name yet. */
async function parseBranchFile(path: string, id: BranchId): Promise<BranchFile | null> {
  const content = await text.readJson(path);
  if (content === null) return null;
  const branch = text.parseFile(schema, content, path);
  if (branch.id !== id) throw text.invalidFile(path, `it is of branch ${branch.id}`);
  if (text.hasRepetition(branch.disks.map((disk) => disk.key))) {
    throw text.invalidFile(path, 'it has a disk twice');
  }
  return branch;
}

/** Every branch. Throws `invalid-file` for the first that cannot be read, also when its file is gone. */
export async function readBranches(layout: ReplicaLayout): Promise<readonly BranchFile[]> {
  const branches = [];
  for (const id of await branchIds(layout)) {
    const branch = await readBranch(layout, id);
    if (branch === null) throw text.invalidFile(layout.branchFile(id), 'it is not there');
    branches.push(branch);
  }
  return branches;
}

/** Ids of the branch folders that are there, readable or not. */
export async function branchIds(layout: ReplicaLayout): Promise<readonly BranchId[]> {
  const names = await namesIn(layout.branches);
  return names.flatMap((name) => {
    try {
      return [branchId(name)];
    } catch {
      // Unfinished or foreign: `inspect` reports it.
      return [];
    }
  });
}
