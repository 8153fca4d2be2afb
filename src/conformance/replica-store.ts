/** What every replica store must keep, sentence by sentence of ports/replica-store.ts. */
import { describe } from 'node:test';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { BranchDisk, OpenPartialDisk, ReplicaStore } from '../ports/replica-store.ts';
import { archiveTests } from './replica-store/archives.ts';
import { branchTests } from './replica-store/branches.ts';
import { chainTests } from './replica-store/chains.ts';
import { failbackTests } from './replica-store/failback.ts';
import { partialTests } from './replica-store/partials.ts';
import { replicaTests } from './replica-store/replicas.ts';
import { seedTests } from './replica-store/seeds.ts';
import type { StoreTest } from './replica-store/story.ts';

/** Whole blocks of 64 KiB, each filled with one byte; 0 is a block of zeros. Block index → byte. */
export type BlockFills = ReadonlyMap<number, number>;

/** One storage, and stores that are opened on it one after the other. */
export type ReplicaStoreHarness = AsyncDisposable & {
  /** A new store on the storage, as after the death of the process that had the one before. */
  open(): Promise<ReplicaStore>;
  /**
   * What a mover does: writes the blocks and leaves the record spool with the SHA-256 of each (docs/formats/hash-table.md).
   * With `targetReads` zeros, zero blocks are neither written nor recorded.
   */
  write(
    disk: Pick<OpenPartialDisk, 'target' | 'recordsPath'>,
    blocks: BlockFills,
    targetReads: 'zeros' | 'parent',
  ): Promise<void>;
  /** The byte that each block of the endpoint is filled with, in order. Rejects when a block is not uniform. */
  read(endpoint: BlockEndpoint, sizeBytes: number): Promise<readonly number[]>;
  /** The same of an image file that stands alone. */
  readImage(path: string, sizeBytes: number): Promise<readonly number[]>;
  /** What a VM does to its disk. */
  writeBranch(disk: BranchDisk, blocks: BlockFills): Promise<void>;
  /** The same, and then the host of the VM crashes: its marks are lost, what it wrote is on disk. */
  crashBranch(disk: BranchDisk, blocks: BlockFills): Promise<void>;
  /** The blocks that a meta context of the endpoint says changed, ascending. */
  changedBlocks(endpoint: BlockEndpoint, metaContext: string): Promise<readonly number[]>;
  /** What `Hypervisor.flatten` does to the disk of a branch. */
  flattenBranch(disk: BranchDisk): Promise<void>;
  /** The hash table's block records, for `knownHashesPath` and `hashesPath`: block index → hex SHA-256. */
  hashes(path: string): Promise<ReadonlyMap<number, string>>;
  /** Makes a state file for `sealPartial` to copy. */
  sidecar(name: 'nvram' | 'tpm', text: string): Promise<{ name: 'nvram' | 'tpm'; path: string }>;
  /** The text of a state file that the store answered. */
  sidecarText(path: string): Promise<string>;
  exists(path: string): Promise<boolean>;
};

export function replicaStoreSuite(
  name: string,
  createHarness: () => Promise<ReplicaStoreHarness>,
  options: { readonly skip?: string | false } = {},
): void {
  const groups: readonly (readonly [string, (test: StoreTest) => void])[] = [
    ['replicas and epochs', replicaTests],
    ['partial points', partialTests],
    ['chains and retention', chainTests],
    ['branches', branchTests],
    ['archived branches and exports', archiveTests],
    ['what a failback asks', failbackTests],
    ['seeds', seedTests],
  ];
  describe(`replica store: ${name}`, options, () => {
    for (const [group, define] of groups) describe(group, () => define({ createHarness }));
  });
}
