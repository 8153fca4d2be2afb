import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';

export function isNodeError(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

export function isNoSpace(error: unknown): boolean {
  return isNodeError(error, 'ENOSPC') || isNodeError(error, 'EDQUOT');
}

/** Any error met while working on `path`, as one of ours. */
export function storeError(error: unknown, path: string): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  if (isNoSpace(error)) {
    return new UnderstudyError('target-full', { path, reason: 'it is full' }, error);
  }
  if (['EACCES', 'EPERM', 'EROFS'].some((code) => isNodeError(error, code))) {
    const reason = error instanceof Error ? error.message : String(error);
    // A system libvirt gives the disks of a VM that it starts, down to the base, to QEMU's user, and keeps the lower ones so.
    const fix = isNodeError(error, 'EPERM')
      ? 'Run the agent as root: the file belongs to another user, as all do that a system libvirt started a VM from.'
      : 'Give the agent read and write access to the storage folder.';
    return new UnderstudyError('access-denied', { path, who: 'the agent', reason, fix }, error);
  }
  return asUnderstudyError(error);
}

/** What a QEMU program said on stderr when it failed, as one of ours. Texts are of QEMU 7.2. */
export function imageError(action: string, path: string, stderr: string): UnderstudyError {
  const reason = stderr.trim().slice(-2000) || 'it gave no reason';
  if (/No space left on device|Disk quota exceeded/.test(reason)) {
    return new UnderstudyError('target-full', { path, reason: 'it is full' });
  }
  if (/Failed to get (shared )?"[^"]+" lock/.test(reason)) {
    return new UnderstudyError('image-in-use', { path, reason });
  }
  return new UnderstudyError('image-command-failed', { action, path, reason });
}

export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new UnderstudyError('cancelled');
}
