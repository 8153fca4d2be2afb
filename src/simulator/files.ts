import { UnderstudyError } from '../domain/error.ts';
import type { Blocks, Image } from './image.ts';

/** What a path of the world can hold. Paths begin with the host's folder, so that hosts do not meet. */
export type SimulatedFile =
  | { readonly type: 'disk'; readonly image: Image }
  /** A record spool or a hash table: one token per block, with zeros where older content is hidden. */
  | { readonly type: 'records'; readonly records: Blocks }
  | { readonly type: 'sidecar'; readonly content: string };

export type Files = Map<string, SimulatedFile>;

export function diskAt(files: Files, path: string): Image | null {
  const file = files.get(path);
  return file?.type === 'disk' ? file.image : null;
}

/** Throws `invalid-file`. */
export function recordsAt(files: Files, path: string): Blocks {
  const file = files.get(path);
  if (file?.type === 'records') return file.records;
  throw new UnderstudyError('invalid-file', { path, reason: 'there are no hash records' });
}

/** Throws `invalid-file`. */
export function sidecarAt(files: Files, path: string): string {
  const file = files.get(path);
  if (file?.type === 'sidecar') return file.content;
  throw new UnderstudyError('invalid-file', { path, reason: 'there is no such state file' });
}

export function removeUnder(files: Files, folder: string): void {
  for (const path of [...files.keys()]) if (path.startsWith(`${folder}/`)) files.delete(path);
}
