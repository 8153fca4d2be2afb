import { UnderstudyError } from '../domain/error.ts';

/** Why a program could not be started: not there, not executable, or the system is out of processes. */
export function programMissing(command: string, error: unknown): UnderstudyError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : null;
  const reason =
    code === 'ENOENT' ? 'it was not found' : code === 'EACCES' ? 'it may not be run' : null;
  const words = reason ?? (error instanceof Error ? error.message : String(error));
  return new UnderstudyError('command-missing', { command, reason: words }, error);
}
