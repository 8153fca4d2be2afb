import { once } from 'node:events';
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
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

/** The token is what protects; that only the owner may connect is a second fence. */
async function listenOnSocket(
  server: FastifyInstance,
  address: Extract<ListenAddress, { type: 'unix' }>,
): Promise<ListenAddress> {
  if (await isAbandonedSocket(address.path)) await unlink(address.path);
  await server.listen({ path: address.path });
  await chmod(address.path, 0o600);
  return address;
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
