import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { operationAnswer } from '../api/operations.ts';
import { OPERATION } from '../api/testing/sample-values.ts';
import { createClient } from './client.ts';
import { Failure } from './failure.ts';
import { type FollowTools, followOperation } from './follow.ts';

/** A server that hangs is one that the kernel still accepts connections for. */
async function clientOf(t: TestContext, listener: RequestListener) {
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
    signal: new AbortController().signal,
    silenceMs: { answer: 20, stream: 20 },
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
