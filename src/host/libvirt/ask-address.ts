/**
 * Asks an address once, from the network that this process is in. What answers is a stranger: nothing but whether a
 * connection came about, and the status of an answer, is looked at.
 */
import { request } from 'node:http';
import { connect } from 'node:net';
import { UnderstudyError } from '../../domain/error.ts';
import type { AddressProbe } from '../../domain/failover/address-probe.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ProbeAttempt } from '../../ports/test-bench.ts';

type Question = { readonly probe: AddressProbe; readonly limitMs: number };

/** Throws `cancelled` when aborted. */
export async function askAddress(
  { probe, limitMs }: Question,
  { signal }: CallOptions,
): Promise<ProbeAttempt> {
  const limit = AbortSignal.timeout(limitMs);
  const until = AbortSignal.any([signal, limit]);
  const attempt = await (probe.type === 'tcp' ? askTcp(probe, until) : askHttp(probe, until));
  if (signal.aborted) throw new UnderstudyError('cancelled');
  return attempt;
}

function askTcp({ address, port }: AddressProbe, signal: AbortSignal): Promise<ProbeAttempt> {
  const where = `${address}:${port}`;
  const { promise, resolve } = Promise.withResolvers<ProbeAttempt>();
  const socket = connect({ host: address, port, signal });
  socket.on('connect', () => {
    resolve({ passed: true, why: `${where} accepted a connection` });
    socket.destroy();
  });
  socket.on('error', (error) => resolve({ passed: false, why: complaint(where, error) }));
  return promise;
}

/** Status and headers are the answer; what follows them is not waited for. */
function askHttp(
  { address, port, path, status }: Extract<AddressProbe, { type: 'http' }>,
  signal: AbortSignal,
): Promise<ProbeAttempt> {
  const where = `${address}:${port}`;
  const { promise, resolve } = Promise.withResolvers<ProbeAttempt>();
  const asking = request({
    host: address,
    port,
    path,
    agent: false,
    signal,
    headers: { 'user-agent': 'understudy' },
  });
  asking.on('response', ({ statusCode: got = 0 }) => {
    const passed = status === null ? got >= 200 && got < 400 : got === status;
    resolve({ passed, why: `${where} answered with status ${got}` });
    asking.destroy();
  });
  asking.on('error', (error) => resolve({ passed: false, why: complaint(where, error) }));
  asking.end();
  return promise;
}

function complaint(where: string, error: Error): string {
  const code = 'code' in error ? String(error.code) : error.message;
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `${where} does not answer`;
  if (code === 'ECONNREFUSED') return `${where} refused the connection`;
  if (code === 'EHOSTUNREACH') return `${where} is not there`;
  return `${where}: ${code}`;
}
