import { UnderstudyError } from '../domain/error.ts';

/** SQLite result codes (sqlite.org/rescode.html) that say that the file is at fault, not the program. */
const FILE_CODES = new Set([10, 11, 14, 26]);
const SQLITE_FULL = 13;

/** What the system says of a place that is not for us. */
const REFUSALS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'its file system is read-only',
  EEXIST: 'it is no folder',
  ENOTDIR: 'what it lies in is no folder',
};
const FIX =
  'Start it as a user who may write there, or name another data folder with --data; the one for sockets is named by UNDERSTUDY_RUNTIME.';

/** What SQLite or the system says of a file of the data folder, in our words. */
export function storeError(path: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof UnderstudyError) return error;
  const code = 'errcode' in error ? Number(error.errcode) & 0xff : null;
  if (code === SQLITE_FULL || ('code' in error && error.code === 'ENOSPC'))
    return new UnderstudyError('data-folder-full', { path }, error);
  if (code === null) return refusal(path, error) ?? error;
  if (!FILE_CODES.has(code)) return error;
  return new UnderstudyError('invalid-file', { path, reason: error.message }, error);
}

/** Null: the system has not refused anything. */
function refusal(
  folder: string,
  error: Error & { readonly code?: unknown; readonly path?: unknown },
): UnderstudyError | null {
  const code = String(error.code);
  const words = REFUSALS[code];
  if (words === undefined) return null;
  const path = typeof error.path === 'string' ? error.path : folder;
  const details = { path, who: 'the server', reason: `${words} (${code})`, fix: FIX };
  return new UnderstudyError('access-denied', details, error);
}
