/**
 * Ends a server whose starter died before it could write down which process it had started. Such a server is known by
 * one thing only: the control socket in its session's folder, whose path nobody else ever had.
 *
 *   folder renamed → control socket there?   yes: it is asked to quit, and closes the socket when it is gone
 *                                            no:  it never ran, is gone, or comes too late to bind its sockets at
 *                                                 a path that is no more, and then ends by itself
 */
import { rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../../ports/clock.ts';
import { isNodeError } from './errors.ts';

export const SESSION_PREFIX = 's-';
/** As long as the other, so that a socket's path stays short enough. */
const ORPHAN_PREFIX = 'o-';
const QUIT_LIMIT_MS = 10_000;
/** A socket is bound and listens in two calls; between them it refuses. */
const REFUSALS_MAX = 5;
const REFUSED_PAUSE_MS = 10;

export function isSessionFolder(name: string): boolean {
  return name.startsWith(SESSION_PREFIX) || name.startsWith(ORPHAN_PREFIX);
}

/** Options for qemu-storage-daemon; they must come first, so that it holds nothing before it can be asked to quit. */
export function controlArguments(folder: string): readonly string[] {
  // A comma separates, and is doubled to be itself.
  const path = controlPath(folder).replaceAll(',', ',,');
  return [
    ...['--chardev', `socket,id=control,path=${path},server=on,wait=off`],
    ...['--monitor', 'chardev=control'],
  ];
}

/** One that is silent for ten seconds is left for the next start, with its folder: nothing is ended on a guess. */
export async function endOrphan(clock: Clock, folder: string): Promise<void> {
  const orphan = join(dirname(folder), basename(folder).replace(SESSION_PREFIX, ORPHAN_PREFIX));
  if (orphan !== folder) await rename(folder, orphan);
  const signal = new AbortController().signal;
  for (let refusals = 0; refusals < REFUSALS_MAX; refusals += 1) {
    const answer = await askToQuit(clock, controlPath(orphan));
    if (answer === 'silent') return;
    if (answer !== 'refused') break;
    await clock.sleep(REFUSED_PAUSE_MS, { signal });
  }
  await rm(orphan, { recursive: true, force: true });
}

/** `refused`: there is a socket and nobody behind it. */
async function askToQuit(
  clock: Clock,
  path: string,
): Promise<'gone' | 'absent' | 'refused' | 'silent'> {
  const isOver = new AbortController();
  let answer: 'gone' | 'absent' | 'refused' | 'silent' = 'gone';
  const socket = connect(path);
  const closed = new Promise<void>((resolve) => {
    // One that dies while it answers is gone, too; `close` follows.
    socket.once('error', (error) => {
      if (isNodeError(error, 'ENOENT')) answer = 'absent';
      if (isNodeError(error, 'ECONNREFUSED')) answer = 'refused';
    });
    socket.once('close', () => resolve());
    socket.once('connect', () => {
      socket.write('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n');
      socket.resume();
    });
  });
  const late = clock.sleep(QUIT_LIMIT_MS, { signal: isOver.signal }).then(
    () => {
      answer = 'silent';
      socket.destroy();
    },
    () => undefined,
  );
  await closed;
  isOver.abort();
  await late;
  return answer;
}

function controlPath(folder: string): string {
  return join(folder, 'qmp');
}
