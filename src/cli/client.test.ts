import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { operationAnswer } from '../api/operations.ts';
import { OPERATION } from '../api/testing/sample-values.ts';
import { type ClientOptions, createClient } from './client.ts';
import { Failure } from './failure.ts';
import { type FollowTools, followOperation } from './follow.ts';

/** A server that hangs is one that the kernel still accepts connections for. */
async function clientOf(
  t: TestContext,
  listener: RequestListener,
  { signal, silenceMs = { answer: 20, stream: 20 } }: Partial<ClientOptions> = {},
) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = { host: '127.0.0.1', port };
  let attempts = 0;
  const client = createClient({
    locate: async () => {
      attempts += 1;
      return { address: `http://127.0.0.1:${port}`, socket, token: 'key' };
    },
    freshKey: () => 'key-1',
    signal: signal ?? new AbortController().signal,
    silenceMs,
  });
  return { client, attempts: () => attempts };
}

const HANGING: readonly (readonly [string, RequestListener])[] = [
  ['before its answer', () => undefined],
  [
    'in the middle of its answer',
    (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': understudy\n\n');
    },
  ],
];

for (const [when, listener] of HANGING) {
  test(`a server that hangs ${when} ends the waiting, once and with what to do`, async (t) => {
    const { client, attempts } = await clientOf(t, listener);
    const unused = () => assert.fail('not called');
    const tools = { client, world: { sleep: unused }, display: {}, onEvent: unused } as unknown;
    await assert.rejects(
      followOperation(tools as FollowTools, operationAnswer(OPERATION)),
      ({ exitCode, message }: Failure) => {
        assert.equal(exitCode, 69);
        assert.match(message, /has said nothing for .*: it hangs or is stopped\./);
        assert.match(message, /`understudy serve`/);
        assert.match(
          message,
          /op-a1 was accepted and continues .*`understudy operation follow op-a1`/,
        );
        return true;
      },
    );
    assert.equal(attempts(), 1);
  });

  test(`a request to a server that hangs ${when} ends, too`, async (t) => {
    const { client } = await clientOf(t, listener);
    await assert.rejects(client.call('overview'), (error) => {
      assert.ok(error instanceof Failure);
      assert.equal(error.exitCode, 69);
      assert.match(error.message, /has not answered for .*before asking again/);
      return true;
    });
  });
}

const PATIENT = { silenceMs: { answer: 60_000, stream: 60_000 } };
const MAY_HAVE = /may still do what was asked: see `understudy status` before asking again/;

test('whose server dies over a command is told that it may have begun; a question asks for nothing', async (t) => {
  const die: RequestListener = (request) => {
    request.on('data', () => undefined).on('end', () => request.socket.destroy());
  };
  const { client } = await clientOf(t, die, PATIENT);
  const failover = client.call('failover', { parameters: { replica: 'r' }, body: {} });
  const isLost = ({ exitCode, message }: Failure) => {
    assert.equal(exitCode, 69);
    assert.match(message, MAY_HAVE);
    return true;
  };
  await assert.rejects(failover, isLost);
  await assert.rejects(client.call('overview'), ({ exitCode, message }: Failure) => {
    assert.equal(exitCode, 69);
    assert.match(message, /^No server answers at /);
    return true;
  });
  const breakOff: RequestListener = (_request, response) => {
    response.writeHead(202, { 'content-length': '100' });
    response.write('{', () => response.destroy());
  };
  const other = await clientOf(t, breakOff, PATIENT);
  const again = other.client.call('failover', { parameters: { replica: 'r' }, body: {} });
  await assert.rejects(again, isLost);
});

test('whoever interrupts a command that was sent is told that it may have begun', async (t) => {
  const interrupt = new AbortController();
  const options = { ...PATIENT, signal: interrupt.signal };
  const { client } = await clientOf(t, () => interrupt.abort(), options);
  const failover = client.call('failover', { parameters: { replica: 'r' }, body: {} });
  await assert.rejects(failover, ({ exitCode, message }: Failure) => {
    assert.equal(exitCode, 130);
    assert.match(message, MAY_HAVE);
    return true;
  });
});

test('a command that could not be sent was not taken by anybody', async () => {
  const nobody = createClient({
    locate: async () => ({
      address: 'unix:/nowhere/api.sock',
      socket: { socketPath: '/nowhere/api.sock' },
      token: 'key',
    }),
    freshKey: () => 'key-1',
    signal: new AbortController().signal,
  });
  await assert.rejects(
    nobody.call('failover', { parameters: { replica: 'r' }, body: {} }),
    ({ message }: Failure) => {
      assert.match(
        message,
        /^No server answers at unix:\/nowhere\/api.sock \(ENOENT\)\. Start one/,
      );
      assert.doesNotMatch(message, MAY_HAVE);
      return true;
    },
  );
});
