/**
 * Asks one question from the network that it is started in, and prints the answer as JSON: `{ passed, why }`. A program
 * of its own, because a process is in one network namespace only.
 *
 *   node probe.ts '{"type":"http","address":"10.0.0.5","port":80,"path":"/","status":null,"limitMs":5000}'
 */
import { request } from 'node:http';
import { connect } from 'node:net';

type Question = {
  readonly type: 'tcp' | 'http';
  readonly address: string;
  readonly port: number;
  readonly path?: string;
  readonly status?: number | null;
  readonly limitMs: number;
};

type Answer = { readonly passed: boolean; readonly why: string };

const question = JSON.parse(process.argv[2] ?? '') as Question;
const where = `${question.address}:${question.port}`;
const answer = await (question.type === 'tcp' ? askTcp(question) : askHttp(question));
process.stdout.write(JSON.stringify(answer), () => process.exit(0));

function askTcp({ address, port, limitMs }: Question): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const socket = connect({ host: address, port, timeout: limitMs });
  socket.on('connect', () => resolve({ passed: true, why: `${where} accepted a connection` }));
  socket.on('timeout', () => resolve({ passed: false, why: `${where} does not answer` }));
  socket.on('error', (error) => resolve({ passed: false, why: complaint(error) }));
  return promise;
}

/** Status and headers are the answer; what follows them is not waited for. */
function askHttp({ address, port, path = '/', status = null, limitMs }: Question): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const asking = request({
    host: address,
    port,
    path,
    agent: false,
    signal: AbortSignal.timeout(limitMs),
    headers: { 'user-agent': 'understudy-test-failover' },
  });
  asking.on('response', ({ statusCode: got = 0 }) => {
    const passed = status === null ? got >= 200 && got < 400 : got === status;
    resolve({ passed, why: `${where} answered with status ${got}` });
  });
  asking.on('error', (error) => resolve({ passed: false, why: complaint(error) }));
  asking.end();
  return promise;
}

function complaint(error: Error): string {
  const code = 'code' in error ? String(error.code) : error.message;
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `${where} does not answer`;
  if (code === 'ECONNREFUSED') return `${where} refused the connection`;
  if (code === 'EHOSTUNREACH') return `${where} is not there`;
  return `${where}: ${code}`;
}
