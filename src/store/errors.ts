import { UnderstudyError } from '../domain/error.ts';

/** SQLite result codes (sqlite.org/rescode.html) that say that the file is at fault, not the program. */
const FILE_CODES = new Set([10, 11, 14, 26]);
const SQLITE_FULL = 13;

/** What SQLite or the system says of a file of the data folder, in our words. */
export function storeError(path: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof UnderstudyError) return error;
  const code = 'errcode' in error ? Number(error.errcode) & 0xff : null;
  if (code === SQLITE_FULL || ('code' in error && error.code === 'ENOSPC'))
    return new UnderstudyError('data-folder-full', { path }, error);
  if (code === null || !FILE_CODES.has(code)) return error;
  return new UnderstudyError('invalid-file', { path, reason: error.message }, error);
}
