/**
 * Whether a layer's file is still the one we sealed. Owner and ctime are never looked at: libvirt changes
 * the owner of a whole chain when it starts a VM, and gives it back only at the top.
 */
import { open, stat } from 'node:fs/promises';
import { isNodeError } from './errors.ts';
import { HEADER_READ_BYTES, parseQcow2Header, type Qcow2Header } from './qcow2-header.ts';

/** 64-bit numbers as decimal text, because JSON numbers are not exact enough. */
export type FileIdentity = {
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly inode: string;
};

export async function identityOf(path: string): Promise<FileIdentity> {
  const { size, mtimeNs, ino } = await stat(path, { bigint: true });
  return { sizeBytes: Number(size), mtimeNs: mtimeNs.toString(), inode: ino.toString() };
}

/** Null when there is no such file, or it is no qcow2 image. */
export async function readImageHeader(path: string): Promise<Qcow2Header | null> {
  try {
    await using handle = await open(path, 'r');
    const bytes = Buffer.alloc(HEADER_READ_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    return parseQcow2Header(bytes.subarray(0, bytesRead));
  } catch (error) {
    if (isNodeError(error, 'ENOENT') || isNodeError(error, 'ENOTDIR')) return null;
    if (isNodeError(error, 'EISDIR')) return null;
    throw error;
  }
}

export type ExpectedImage = {
  readonly path: string;
  /** Null: not known, which counts as changed. Undefined: being changed by us, so anything is right. */
  readonly identity: FileIdentity | null | undefined;
  /** Null: stands alone. More than one while a merge is under way. */
  readonly backingNames: readonly (string | null)[];
};

export type ImageProblem = {
  /** `changed`: only its identity differs, so its content may still be right. `damaged`: it cannot be. */
  readonly kind: 'missing' | 'damaged' | 'changed';
  readonly reason: string;
};

/** Compares a file with what is expected of it: cheap, reads one cluster. Null when all is well. */
export async function imageProblem(expected: ExpectedImage): Promise<ImageProblem | null> {
  let found: FileIdentity;
  try {
    found = await identityOf(expected.path);
  } catch (error) {
    if (!isNodeError(error, 'ENOENT') && !isNodeError(error, 'ENOTDIR')) throw error;
    return { kind: 'missing', reason: 'the file is not there' };
  }
  const damaged = (reason: string): ImageProblem => ({ kind: 'damaged', reason });
  const header = await readImageHeader(expected.path);
  if (header === null) return damaged('it is not a qcow2 image');
  if (header.isCorrupt) return damaged('QEMU marked it as corrupt');
  if (!expected.backingNames.includes(header.backingName)) {
    const wanted = expected.backingNames.map((name) => name ?? 'nothing').join(' or ');
    return damaged(`it lies over ${header.backingName ?? 'nothing'}, recorded is ${wanted}`);
  }
  if (expected.identity === undefined) return null;
  const difference = identityDifference(expected.identity, found);
  return difference === null ? null : { kind: 'changed', reason: difference };
}

function identityDifference(recorded: FileIdentity | null, found: FileIdentity): string | null {
  if (recorded === null) return 'its content was never compared with its hash table';
  if (recorded.sizeBytes !== found.sizeBytes) {
    return `it has ${found.sizeBytes} bytes, recorded are ${recorded.sizeBytes}`;
  }
  if (recorded.mtimeNs !== found.mtimeNs) return 'it was written to after it was sealed';
  if (recorded.inode !== found.inode) return 'it was replaced by another file';
  return null;
}
