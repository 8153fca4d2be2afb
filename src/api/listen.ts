import { once } from 'node:events';
import { chmod, link, lstat, mkdir, open, rm, rmdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { UnderstudyError } from '../domain/error.ts';
import { formatServerAddress, type ListenAddress } from './listen-address.ts';

/** Resolves with the address in use. Throws `invalid-request` when it cannot be had, naming the system's reason. */
export async function listen(
  server: FastifyInstance,
  address: ListenAddress,
): Promise<ListenAddress> {
  try {
    return address.type === 'unix'
      ? await listenOnSocket(server, address)
      : await listenOnPort(server, address);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UnderstudyError(
      'invalid-request',
      { reason: `The server cannot listen on ${formatServerAddress(address)} (${reason})` },
      cause,
    );
  }
}

async function listenOnPort(
  server: FastifyInstance,
  address: Extract<ListenAddress, { type: 'tcp' }>,
): Promise<ListenAddress> {
  await server.listen({ host: address.host, port: address.port });
  const bound = server.server.address();
  return { ...address, port: typeof bound === 'object' && bound !== null ? bound.port : 0 };
}

/**
 * The token is what protects; that only the owner may connect is a second fence, without a gap: the socket is made in a folder
 * that nobody else can enter, and gets its name when it is closed to others.
 */
async function listenOnSocket(
  server: FastifyInstance,
  address: Extract<ListenAddress, { type: 'unix' }>,
): Promise<ListenAddress> {
  const { path } = address;
  if (await isAbandonedSocket(path)) await unlink(path);
  let isNamed = false;
  // While it answers still: a name behind which nobody answers may be another's by now.
  server.addHook('preClose', async () => {
    if (isNamed) await rm(path, { force: true });
  });
  const folder = `${path}.new`;
  await removeFolder(folder);
  await mkdir(folder, { mode: 0o700 });
  try {
    await listenInside(server, folder);
    await chmod(join(folder, FIRST_NAME), 0o600);
    await link(join(folder, FIRST_NAME), path).catch(inUse);
    isNamed = true;
  } finally {
    await removeFolder(folder);
  }
  return address;
}

/** Removed by this name, too, when the server closes, wherever that leads by then: so it must be nobody else's. */
const FIRST_NAME = 'understudy-api.sock.new';

/** By way of proc(5), because the address of a socket has no room for a longer path than its own. */
async function listenInside(server: FastifyInstance, folder: string): Promise<void> {
  await using held = await open(folder);
  await server.listen({ path: `/proc/self/fd/${held.fd}/${FIRST_NAME}` });
}

/** Throws when anything else lies in it. */
async function removeFolder(folder: string): Promise<void> {
  await rm(join(folder, FIRST_NAME), { force: true });
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

/** A link takes no name that is taken, as the kernel does not bind to one; what it says of that is more to the point. */
function inUse(cause: unknown): never {
  if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) throw cause;
  throw new Error('EADDRINUSE: something is there already', { cause });
}

/** A server that was killed leaves its socket file behind, and nobody answers there. */
async function isAbandonedSocket(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  if (found === null || !found.isSocket()) return false;
  const probe = connect(path);
  try {
    await once(probe, 'connect');
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
  } finally {
    probe.destroy();
  }
}
