import type { CallOptions } from '../../ports/call.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import { connectNbd, type NbdConnection } from './connection.ts';
import { invalidEndpoint } from './errors.ts';
import { TRANSMISSION } from './protocol.ts';

export type EndpointUse = {
  readonly endpoint: BlockEndpoint;
  readonly use: 'source' | 'target' | 'verify';
  /** A source must have exactly this size, the others at least. */
  readonly sizeBytes: number;
  readonly metaContexts: readonly string[];
};

/** Connects, and makes sure that the endpoint can serve its use. Throws `invalid-endpoint` if not. */
export async function openEndpoint(
  { endpoint, use, sizeBytes, metaContexts }: EndpointUse,
  options: CallOptions,
): Promise<NbdConnection> {
  const request = { endpoint, structuredReplies: true, metaContexts };
  const connection = await connectNbd(request, options);
  const actual = connection.description.sizeBytes;
  const isReadOnly = hasFlag(connection, TRANSMISSION.readOnly);
  if (actual < sizeBytes || (use === 'source' && actual !== sizeBytes)) {
    connection.close();
    throw invalidEndpoint(endpoint, `it has ${actual} bytes where ${sizeBytes} are expected`);
  }
  if (use === 'target' && isReadOnly) {
    connection.close();
    throw invalidEndpoint(endpoint, 'it is read-only');
  }
  return connection;
}

/** Without this promise of a server, what one connection wrote need not be seen or flushed by another. */
export function hasMultipleConnections(connection: NbdConnection): boolean {
  return hasFlag(connection, TRANSMISSION.multipleConnections);
}

/** Flushes where the server can; one that cannot has nothing to flush. */
export async function flushIfPossible(connection: NbdConnection): Promise<void> {
  if (hasFlag(connection, TRANSMISSION.flush)) await connection.flush();
}

function hasFlag({ description }: NbdConnection, flag: number): boolean {
  return (description.transmissionFlags & flag) !== 0;
}
