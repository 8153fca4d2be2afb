/**
 * Serves images over NBD: one qemu-storage-daemon per session, on a unix socket in a private folder.
 * A daemon outlives us. So each session's folder says which process it is, and the first use after
 * a restart ends what an earlier life left running: by pid and start time, never by name. One whose process was never
 * written down is asked to end itself (orphan-server.ts).
 *
 *   <runtimeFolder>/s-XXXXXX/nbd            the socket: at most 107 bytes with its path
 *   <runtimeFolder>/s-XXXXXX/qmp            its control socket
 *   <runtimeFolder>/s-XXXXXX/ready          QEMU's pid file, written when all exports are up, removed on a clean exit
 *   <runtimeFolder>/s-XXXXXX/session.json   process identity, and what to remove with the session
 */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import type { Processes, ProcessIdentity } from '../../ports/processes.ts';
import { processIdentity, readJson } from '../file-parsing.ts';
import { isThere } from '../is-there.ts';
import { WHOLE_TABLES } from '../nbd-server-tuning.ts';
import { imageError } from './errors.ts';
import { controlArguments, endOrphan, isSessionFolder, SESSION_PREFIX } from './orphan-server.ts';
import { namesIn } from './point-file.ts';

/** sun_path of unix(7) without its final zero. */
const SOCKET_PATH_BYTES_MAX = 107;
const READY_POLL_MS = 3;
const READY_LIMIT_MS = 30_000;
/** Ending flushes what the page cache holds; the mover flushed before, so this is a bound, not a wait. */
const END_GRACE_MS = 120_000;

export type ServedImage = {
  readonly exportName: string;
  readonly path: string;
  /** Without it qcow2. */
  readonly format?: 'qcow2' | 'raw' | 'vhdx';
  readonly isWritable: boolean;
  /** Others may open it meanwhile, also for writing: for what is only read, and need not hold still. */
  readonly isUnlocked?: boolean;
  /** Only its beginning is shown. */
  readonly sizeBytesMax?: number;
  /**
   * Nothing is flushed while it is served, whatever a client or the format itself asks for: whoever ends the session
   * makes the file durable. A qcow2 flushes three times for each 512 MiB of the disk that it first writes to. For images
   * with our clusters of 64 KiB.
   */
  readonly isFlushedAtEnd?: boolean;
  /** Serve what this image alone holds: zeros where only those below it have content. */
  readonly isAlone?: boolean;
  /** What a client may ask beside what is allocated: of a bitmap, or of what the image holds itself (`depth`). */
  readonly tells?: { readonly type: 'bitmap'; readonly name: string } | { readonly type: 'depth' };
};

export type Session = {
  /** Names the session: serving it again answers the same daemon while that lives. */
  readonly name: string;
  readonly images: readonly ServedImage[];
  /** A folder to remove when the session ends, also after a restart; null: none. */
  readonly scratchFolder: string | null;
};

export interface ImageServer {
  /**
   * Starts serving; resolves when every export accepts connections.
   * Throws `image-in-use`, `image-command-failed`, `timed-out`, `invalid-request`, `command-missing`.
   */
  serve(session: Session, options: CallOptions): Promise<readonly BlockEndpoint[]>;
  /** Resolves when the process is gone. A session that is not there is success. */
  stop(name: string, options: CallOptions): Promise<void>;
  /** Names of sessions with this beginning. */
  sessions(prefix: string): readonly string[];
  /** Ends what an earlier life left running; later calls do nothing. */
  reclaim(options: CallOptions): Promise<void>;
}

type Running = {
  readonly folder: string;
  readonly process: ProcessIdentity;
  readonly session: Session;
};

type ServerParts = {
  readonly runtimeFolder: string;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string>>;
};

export function createImageServer(parts: ServerParts): ImageServer {
  const running = new Map<string, Running>();
  let reclaimed: Promise<void> | null = null;

  const stop = async (name: string, options: CallOptions) => {
    const known = running.get(name);
    if (known === undefined) return;
    await endSession(parts, known, options);
    running.delete(name);
  };
  return {
    serve: async (session, options) => {
      const known = running.get(session.name);
      if (known !== undefined) {
        const isSame = JSON.stringify(known.session) === JSON.stringify(session);
        if (isSame && (await parts.processes.isAlive(known.process))) return endpointsOf(known);
        await stop(session.name, options);
      }
      const started = await startSession(parts, session, options);
      running.set(session.name, started);
      return endpointsOf(started);
    },
    stop,
    sessions: (prefix) => [...running.keys()].filter((name) => name.startsWith(prefix)),
    reclaim: async (options) => {
      reclaimed ??= endLeftovers(parts, options);
      try {
        await reclaimed;
      } catch (error) {
        // So that the next call tries again instead of repeating this answer for ever.
        reclaimed = null;
        throw error;
      }
    },
  };
}

function endpointsOf({ folder, session }: Running): readonly BlockEndpoint[] {
  const address = { type: 'unix', path: join(folder, 'nbd') } as const;
  return session.images.map(({ exportName }) => ({ address, exportName }));
}

async function startSession(
  parts: ServerParts,
  session: Session,
  options: CallOptions,
): Promise<Running> {
  await mkdir(parts.runtimeFolder, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(parts.runtimeFolder, SESSION_PREFIX));
  await chmod(folder, 0o700);
  const socket = join(folder, 'nbd');
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    await rm(folder, { recursive: true });
    const reason = `The runtime folder ${parts.runtimeFolder} is too long a path for sockets`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const process = await parts.processes.startDaemon({
    command: 'qemu-storage-daemon',
    arguments: serverArguments(folder, session.images),
    env: parts.environment,
    logPath: join(folder, 'log'),
  });
  const started = { folder, process, session };
  const { scratchFolder } = session;
  await writeFile(join(folder, 'session.json'), JSON.stringify({ process, scratchFolder }));
  try {
    await untilReady(parts, started, options);
  } catch (error) {
    // A fresh signal: what was started must go also when the caller gave up.
    await endSession(parts, started, { signal: new AbortController().signal });
    throw error;
  }
  return started;
}

/** Options as JSON, because comma-joined ones cannot carry every path. */
function serverArguments(folder: string, images: readonly ServedImage[]): readonly string[] {
  const address = { type: 'unix', path: join(folder, 'nbd') };
  return [
    ...controlArguments(folder),
    ...['--nbd-server', JSON.stringify({ addr: address, 'max-connections': 0 })],
    ...images.flatMap((image, index) => imageArguments(image, index)),
    ...['--pidfile', join(folder, 'ready')],
  ];
}

function imageArguments(image: ServedImage, index: number): readonly string[] {
  const access = image.isWritable ? { discard: 'unmap' } : { 'read-only': true };
  const name = { 'node-name': `disk${index}` };
  const isWhole = image.sizeBytesMax === undefined;
  const content = {
    driver: image.format ?? 'qcow2',
    ...(isWhole ? name : {}),
    ...access,
    file: {
      driver: 'file',
      filename: image.path,
      ...access,
      ...(image.isFlushedAtEnd ? { cache: { 'no-flush': true } } : {}),
      ...(image.isUnlocked ? { locking: 'off' } : {}),
    },
    ...(image.isFlushedAtEnd ? WHOLE_TABLES : {}),
    ...(image.isAlone ? { backing: null } : {}),
  };
  // The raw driver over another one shows a part of it.
  const part = { driver: 'raw', ...name, ...access, size: image.sizeBytesMax, file: content };
  const node = isWhole ? content : part;
  const served = {
    type: 'nbd',
    id: `export${index}`,
    'node-name': `disk${index}`,
    name: image.exportName,
    writable: image.isWritable,
    ...(image.tells?.type === 'bitmap' ? { bitmaps: [image.tells.name] } : {}),
    ...(image.tells?.type === 'depth' ? { 'allocation-depth': true } : {}),
  };
  return ['--blockdev', JSON.stringify(node), '--export', JSON.stringify(served)];
}

async function untilReady(
  { processes, clock }: ServerParts,
  { folder, process, session }: Running,
  options: CallOptions,
): Promise<void> {
  const startedAt = clock.monotonicMs();
  while (!(await isThere(join(folder, 'ready')))) {
    if (!(await processes.isAlive(process))) {
      const log = await readFile(join(folder, 'log'), 'utf8').catch(() => '');
      throw imageError('serve', session.images.map(({ path }) => path).join(', '), log);
    }
    if (clock.monotonicMs() - startedAt > READY_LIMIT_MS) {
      throw new UnderstudyError('timed-out', { what: 'Serving disks', limitMs: READY_LIMIT_MS });
    }
    await clock.sleep(READY_POLL_MS, options);
  }
}

async function endSession(
  { processes }: ServerParts,
  { folder, process, session }: Running,
  options: CallOptions,
): Promise<void> {
  await processes.end(process, END_GRACE_MS, options);
  if (session.scratchFolder !== null) await rm(session.scratchFolder, REMOVE);
  await rm(folder, REMOVE);
}

const REMOVE = { recursive: true, force: true } as const;

const sessionFile = z.object({
  process: processIdentity,
  scratchFolder: z.string().nullable(),
});

async function endLeftovers(parts: ServerParts, options: CallOptions): Promise<void> {
  for (const name of await namesIn(parts.runtimeFolder)) {
    if (!isSessionFolder(name)) continue;
    const folder = join(parts.runtimeFolder, name);
    const found = sessionFile.safeParse(await sessionText(folder));
    if (!found.success) {
      await endOrphan(parts.clock, folder);
      continue;
    }
    const { process, scratchFolder } = found.data;
    const session = { name, images: [], scratchFolder };
    await endSession(parts, { folder, process, session }, options);
  }
}

/** Null when it is not there or was cut off by a crash. */
async function sessionText(folder: string): Promise<unknown> {
  try {
    return await readJson(join(folder, 'session.json'));
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'invalid-file') return null;
    throw error;
  }
}
