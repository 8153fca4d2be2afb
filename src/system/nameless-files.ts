/**
 * Files in memory that never have a name. Definitions of VMs may hold passwords, and what has a name, even for a moment,
 * outlives a server that is killed in it. Linux lets a program open what another opened for it anew, as `/dev/fd/N`.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { UnderstudyError } from '../domain/error.ts';

type NamelessFiles = AsyncDisposable & { readonly descriptors: readonly number[] };

/** The file system that is in memory on every Linux, for POSIX shared memory. */
const FOLDER = '/dev/shm';
/** O_TMPFILE, which Node has no name for; open(2). */
const NAMELESS = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR;

/** Open until disposed; a program that got them keeps them. Throws `access-denied`. */
export async function namelessFiles(texts: readonly string[]): Promise<NamelessFiles> {
  await using opened = new AsyncDisposableStack();
  const handles: FileHandle[] = [];
  try {
    for (const text of texts) {
      const handle = opened.use(await open(FOLDER, NAMELESS, 0o600));
      await handle.writeFile(text);
      handles.push(handle);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = `See that a tmpfs with room is mounted there: mount -t tmpfs tmpfs ${FOLDER}`;
    const details = { path: FOLDER, who: 'the server', reason, fix };
    throw new UnderstudyError('access-denied', details, cause);
  }
  const kept = opened.move();
  return {
    descriptors: handles.map(({ fd }) => fd),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
