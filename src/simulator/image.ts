/**
 * Disk images: a sparse map from block index to content, over an optional backing image, as qcow2 reads them. Content
 * is a token that stands for 64 KiB: two blocks are equal exactly when their tokens are, so that a token is
 * its own hash. 0 is a block of zeros; stored, it hides what lies below; absent, it lets it through.
 */
import { BLOCK_BYTES, blockCount } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';

export type Token = number | string;

export type Blocks = Map<number, Token>;

/** Storage that fills up. */
export type Room = { readonly path: string; capacityBytes: number; usedBytes: number };

export type Mark = { readonly isOurs: boolean; readonly dirty: Set<number> };

export type Image = {
  path: string;
  readonly format: 'qcow2' | 'raw';
  sizeBytes: number;
  readonly blocks: Blocks;
  backing: Image | null;
  readonly room: Room;
  /** Change marks, by name: the blocks written since each was set. Only qcow2 keeps them. */
  readonly marks: Map<string, Mark>;
  /** Blocks that somebody wrote into the file behind the back of whoever keeps it. */
  readonly damaged: Set<number>;
  /** Grows whenever somebody writes to the file itself: stands for size, mtime and inode. */
  identity: number;
  /** Its file was removed: whatever still points at it reads rubbish. */
  isRemoved: boolean;
};

export function createImage(
  image: Pick<Image, 'path' | 'format' | 'sizeBytes' | 'backing' | 'room'>,
): Image {
  const fresh = { blocks: new Map(), marks: new Map(), damaged: new Set<number>() };
  return { ...image, ...fresh, identity: 1, isRemoved: false };
}

/** What the image reads: a backing image reads as zeros beyond its own end, whatever lies below it. */
export function readBlock(image: Image, index: number): Token {
  const at = holderOf(image, index);
  if (at === null) return 0;
  return at.isRemoved ? 'removed file' : (at.blocks.get(index) ?? 0);
}

/** Whether what the image reads there was written by somebody behind everyone's back. */
export function isDamaged(image: Image, index: number): boolean {
  return holderOf(image, index)?.damaged.has(index) === true;
}

/** The one of the image and what lies below it that answers for the block. */
function holderOf(image: Image, index: number): Image | null {
  let at: Image | null = image;
  while (at !== null && index < blockCount(at.sizeBytes)) {
    if (at.isRemoved || at.blocks.has(index)) return at;
    at = at.backing;
  }
  return null;
}

/**
 * Writes one block and remembers it in every mark. Throws `target-full`; then nothing was changed. Zeros
 * take no room.
 */
export function writeBlock(image: Image, index: number, token: Token): void {
  if (index < 0 || index >= blockCount(image.sizeBytes)) {
    throw new RangeError(`block ${index} is beyond ${image.path}`);
  }
  const growth = roomOf(token) - roomOf(image.blocks.get(index) ?? 0);
  takeRoom(image.room, growth);
  image.blocks.set(index, token);
  image.damaged.delete(index);
  image.identity += 1;
  for (const mark of image.marks.values()) mark.dirty.add(index);
}

/** Blocks that some layer holds, ascending: what a block status query calls allocated. */
export function allocatedBlocks(image: Image): number[] {
  const found = new Set<number>();
  let limit = Number.POSITIVE_INFINITY;
  for (let at: Image | null = image; at !== null; at = at.backing) {
    limit = Math.min(limit, blockCount(at.sizeBytes));
    for (const index of at.blocks.keys()) if (index < limit) found.add(index);
  }
  return [...found].sort((a, b) => a - b);
}

/** Everything that does not read as zeros. */
export function contentOf(image: Image): Blocks {
  const content: Blocks = new Map();
  for (const index of allocatedBlocks(image)) {
    const token = readBlock(image, index);
    if (token !== 0) content.set(index, token);
  }
  return content;
}

/** Copies a child's own blocks into its backing image, as `qemu-img commit` does. */
export function commitInto(backing: Image, child: Image): void {
  const growth = [...child.blocks].reduce(
    (sum, [index, token]) => sum + roomOf(token) - roomOf(backing.blocks.get(index) ?? 0),
    0,
  );
  takeRoom(backing.room, growth);
  backing.sizeBytes = Math.max(backing.sizeBytes, child.sizeBytes);
  for (const [index, token] of child.blocks) {
    backing.blocks.set(index, token);
    if (child.damaged.has(index)) backing.damaged.add(index);
    else backing.damaged.delete(index);
  }
  backing.identity += 1;
}

/** Gives the image's room back, when its file is removed. */
export function releaseImage(image: Image): void {
  image.isRemoved = true;
  image.room.usedBytes -= heldBytes(image);
}

/** Bytes that the image holds of its own. */
export function heldBytes(image: Image): number {
  let bytes = 0;
  for (const token of image.blocks.values()) bytes += roomOf(token);
  return bytes;
}

function takeRoom(room: Room, bytes: number): void {
  if (bytes > 0 && room.usedBytes + bytes > room.capacityBytes) {
    throw new UnderstudyError('target-full', { path: room.path, reason: 'it is full' });
  }
  room.usedBytes += bytes;
}

export function freeBytes(room: Room): number {
  return Math.max(0, room.capacityBytes - room.usedBytes);
}

/** The bytes of one block of a disk: the last one may be short. */
export function blockBytes(sizeBytes: number, index: number): number {
  return Math.min(BLOCK_BYTES, sizeBytes - index * BLOCK_BYTES);
}

function roomOf(token: Token): number {
  return token === 0 ? 0 : BLOCK_BYTES;
}
