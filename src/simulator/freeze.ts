/**
 * A frozen instant of a VM. While the VM runs, an old block is saved to scratch before the guest first overwrites
 * it; a powered-off VM's disks are simply read, and a start meanwhile spoils the instant.
 */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import type { DiskKey, MarkName, OperationKey } from '../domain/ids.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { FrozenPoint } from '../ports/point-source.ts';
import { type Blocks, type Image, type Room, readBlock } from './image.ts';

export type Freeze = {
  readonly key: OperationKey;
  readonly mark: MarkName;
  readonly isLive: boolean;
  readonly views: readonly FrozenView[];
  readonly answer: FrozenPoint;
  readonly sidecarPaths: readonly string[];
  readonly scratch: Room;
  readonly quotaBytes: number;
  scratchUsedBytes: number;
  /** Why what is read is not one instant any more; else null. */
  spoiledBecause: string | null;
  /** Called after every change of the fields above, and when the freeze is gone. */
  readonly listeners: Set<() => void>;
};

export type FrozenView = {
  readonly key: DiskKey;
  readonly image: Image;
  readonly sizeBytes: number;
  /** Blocks as they were, of those overwritten since. */
  readonly saved: Blocks;
  readonly allocated: readonly number[];
  /** Blocks changed since the mark asked for; null when read by allocation. */
  readonly dirty: readonly number[] | null;
  readonly endpoint: BlockEndpoint;
};

export function readFrozen(
  view: Pick<FrozenView, 'image' | 'saved'>,
  index: number,
): number | string {
  return view.saved.get(index) ?? readBlock(view.image, index);
}

/**
 * Saves a block that is about to be overwritten. False: scratch is full, and the guest would have to
 * wait, which is the one thing that must never happen.
 */
export function saveOldBlock(freeze: Freeze, image: Image, index: number): boolean {
  const view = freeze.views.find((candidate) => candidate.image === image);
  if (!freeze.isLive || view === undefined || view.saved.has(index)) return true;
  if (freeze.scratch.usedBytes + BLOCK_BYTES > freeze.scratch.capacityBytes) return false;
  view.saved.set(index, readBlock(image, index));
  freeze.scratch.usedBytes += BLOCK_BYTES;
  freeze.scratchUsedBytes += BLOCK_BYTES;
  announce(freeze);
  return true;
}

export function spoil(freeze: Freeze, because: string): void {
  freeze.spoiledBecause ??= because;
  announce(freeze);
}

function announce(freeze: Freeze): void {
  for (const listener of [...freeze.listeners]) listener();
}
