/** Real NBD servers for tests and benchmarks: children of this process, ended by `close`. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, watch } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { BlockEndpoint } from '../../../ports/mover.ts';

export type RunningServer = AsyncDisposable & {
  readonly endpoint: BlockEndpoint;
  readonly child: ChildProcess;
  close(): Promise<void>;
};

export type ServedImage = {
  /** An existing folder for socket and pid file; its path must be short. */
  readonly folder: string;
  /** Unique within the folder. */
  readonly name: string;
  readonly imagePath: string;
  readonly format: 'raw' | 'qcow2';
  readonly isReadOnly: boolean;
  /** Name of a dirty bitmap to publish. */
  readonly bitmap?: string;
  /** 1 makes the server take one connection at a time. */
  readonly connectionsMax?: number;
  /** Every write to the file fails for want of room. */
  readonly isFull?: boolean;
  /** GLIBC_TUNABLES of the server. */
  readonly tunables?: string;
};

export function hasProgram(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Runs a program to its end; throws with what it said when it fails. */
export function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error ?? stderr}`);
  return stdout;
}

export function serveWithQemuNbd(image: ServedImage): Promise<RunningServer> {
  const args = ['-t', '-x', image.name, '--cache=writeback'];
  args.push('--discard=unmap', '-e', String(image.connectionsMax ?? 8));
  args.push('-k', socketPath(image), `--pid-file=${pidPath(image)}`);
  if (image.isReadOnly) args.push('-r');
  if (image.bitmap !== undefined) args.push('-B', image.bitmap);
  const { format, imagePath } = image;
  const full = `driver=${format},file.driver=blkdebug,file.image.filename=${imagePath},file.inject-error.0.event=${NO_ROOM.event},file.inject-error.0.errno=${NO_ROOM.errno}`;
  args.push(...(image.isFull === true ? ['--image-opts', full] : ['-f', format, '--', imagePath]));
  return start('qemu-nbd', args, image);
}

/** Of the driver blkdebug (qemu: docs/devel/blkdebug): ENOSPC whenever the file is written to. */
const NO_ROOM = { event: 'pwritev', errno: 28 } as const;

export function serveWithStorageDaemon(image: ServedImage): Promise<RunningServer> {
  const plain = { driver: 'file', filename: image.imagePath, discard: 'unmap' };
  const full = { driver: 'blkdebug', image: plain, 'inject-error': [NO_ROOM] };
  const file = { ...(image.isFull === true ? full : plain), 'node-name': 'file' };
  const format = { driver: image.format, 'node-name': 'disk', file: 'file', discard: 'unmap' };
  const nodes = [file, format].map((node) => ({ ...node, 'read-only': image.isReadOnly }));
  const args = nodes.flatMap((node) => ['--blockdev', JSON.stringify(node)]);
  const served = {
    type: 'nbd',
    id: 'export',
    'node-name': 'disk',
    name: image.name,
    writable: !image.isReadOnly,
    ...(image.bitmap === undefined ? {} : { bitmaps: [image.bitmap] }),
  };
  args.push('--nbd-server', `addr.type=unix,addr.path=${socketPath(image)}`);
  args.push('--export', JSON.stringify(served), '--pidfile', pidPath(image));
  return start('qemu-storage-daemon', args, image);
}

/**
 * Both programs write their pid file when they listen. A SIGTERM that comes before their main loop runs is forgotten by qemu-nbd
 * (7.2): so they count as started when they greet.
 */
async function start(
  program: string,
  args: readonly string[],
  image: ServedImage,
): Promise<RunningServer> {
  const tunables = image.tunables === undefined ? {} : { GLIBC_TUNABLES: image.tunables };
  // A pid file left by an earlier server of this name would look like readiness.
  for (const path of [pidPath(image), socketPath(image)]) rmSync(path, { force: true });
  const watcher = watch(image.folder);
  const env = { ...process.env, ...tunables };
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const said: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => said.push(text));
  const exited = once(child, 'exit');
  try {
    while (!existsSync(pidPath(image))) {
      await Promise.race([once(watcher, 'change'), exited]);
      if (child.exitCode !== null) throw new Error(`${program} ended: ${said.join('')}`);
    }
    await greeting(socketPath(image));
  } finally {
    watcher.close();
  }
  const close = async () => {
    child.kill('SIGTERM');
    await exited;
  };
  const address = { type: 'unix', path: socketPath(image) } as const;
  const endpoint = { address, exportName: image.name };
  return { endpoint, child, close, [Symbol.asyncDispose]: close };
}

async function greeting(path: string): Promise<void> {
  const socket = connect(path);
  try {
    await once(socket, 'data');
  } finally {
    socket.destroy();
  }
}

function socketPath({ folder, name }: ServedImage): string {
  return join(folder, `${name}.sock`);
}

function pidPath({ folder, name }: ServedImage): string {
  return join(folder, `${name}.pid`);
}
