import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createVirtualClock } from '../simulator/clock.ts';
import { openEventStream } from './event-stream.ts';

test('a reader that went away before its stream was opened is known to be gone', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const reader = get({ host: '127.0.0.1', port, agent: false });
  reader.on('error', () => {}); // it hangs up itself
  const [, response] = await once(server, 'request');
  const closed = once(response, 'close');
  reader.destroy();
  await closed;
  const stream = openEventStream(response, createVirtualClock({ mode: 'manual' }));
  assert.equal(stream.closed.aborted, true);
  stream.send({ event: 'event', value: 1 });
  stream.end();
});
