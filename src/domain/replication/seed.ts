/** What a replica's first point is compared with instead of nothing: content that is at the target already. */
import { UnderstudyError } from '../error.ts';
import type { DiskKey, ReplicaId, VmId } from '../ids.ts';

export type Seed =
  /** Image files at the target, each of the disk that it is named for. */
  | { readonly type: 'files'; readonly files: readonly SeedFile[] }
  /** The disks of a VM at the target that is off. */
  | { readonly type: 'vm'; readonly vmId: VmId; readonly vmName: string }
  /** The newest restore point of another replica at the same target. */
  | { readonly type: 'replica'; readonly replicaId: ReplicaId; readonly replicaName: string };

export type SeedFile = {
  readonly key: DiskKey;
  /** Absolute. */
  readonly path: string;
};

/** For sentences: `seeded from …`. */
export function seedName(seed: Seed): string {
  switch (seed.type) {
    case 'files':
      return seed.files.map(({ path }) => path).join(' and ');
    case 'vm':
      return `VM ${seed.vmName} of the target host`;
    case 'replica':
      return `replica ${seed.replicaName}`;
  }
}

/** The same of one of its disks: of several files, that disk's own. */
export function seedOfDisk(seed: Seed, disk: DiskKey): string {
  if (seed.type !== 'files') return seedName(seed);
  return seedName({ ...seed, files: seed.files.filter(({ key }) => key === disk) });
}

/** The disks that the VM and the seed both have. Throws `seed-unfit` when there are none. */
export function seededDisks(
  seed: Seed,
  ofVm: readonly DiskKey[],
  ofSeed: readonly DiskKey[],
): readonly DiskKey[] {
  const both = ofVm.filter((key) => ofSeed.includes(key));
  if (both.length > 0) return both;
  const has = ofSeed.length === 0 ? 'it has no disks' : `it has only ${ofSeed.join(', ')}`;
  throw seedUnfit(seed, `none of the VM's disks (${ofVm.join(', ')}) is in it; ${has}`);
}

export function seedUnfit(seed: Seed, reason: string): UnderstudyError {
  return new UnderstudyError('seed-unfit', { seed: seedName(seed), reason });
}
