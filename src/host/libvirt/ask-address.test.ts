import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { after, before, test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { parseAddressProbe } from '../../domain/failover/address-probe.ts';
import { askAddress } from './ask-address.ts';

const { signal } = new AbortController();
/** Answers with the status that the path names. */
const web = createHttpServer((request, response) => {
  response.statusCode = Number(request.url?.slice(1));
  response.end();
});
/** Accepts, and never says a word. */
const mute = createServer((socket) => socket.on('error', () => undefined));

before(async () => {
  for (const server of [web, mute]) await once(server.listen(0, '127.0.0.1'), 'listening');
});
after(() => {
  web.closeAllConnections();
  for (const server of [web, mute]) server.close();
});

const portOf = (server: Server) => (server.address() as AddressInfo).port;
const ask = (text: string, limitMs = 5000) =>
  askAddress({ probe: parseAddressProbe(text), limitMs }, { signal });

test('a status decides, and a connection is an answer', async () => {
  const at = `127.0.0.1:${portOf(web)}`;
  assert.equal((await ask(`tcp:${at}`)).passed, true);
  assert.equal((await ask(`http:${at}/204`)).passed, true);
  assert.equal((await ask(`http:${at}/503`)).passed, false);
  assert.equal((await ask(`http:${at}/503=503`)).passed, true);
  assert.equal((await ask(`http:${at}/200=204`)).passed, false);
});

test('who does not answer has not passed: in time, and with the reason', async () => {
  const silent = await ask(`http:127.0.0.1:${portOf(mute)}`, 50);
  assert.deepEqual(silent, {
    passed: false,
    why: `127.0.0.1:${portOf(mute)} does not answer`,
  });
  const gone = createServer();
  await once(gone.listen(0, '127.0.0.1'), 'listening');
  const port = portOf(gone);
  gone.close();
  await once(gone, 'close');
  assert.match((await ask(`tcp:127.0.0.1:${port}`)).why, /refused the connection/);
});

test('an aborted question is cancelled', async () => {
  const stop = new AbortController();
  const probe = parseAddressProbe(`http:127.0.0.1:${portOf(mute)}`);
  const asked = askAddress({ probe, limitMs: 5000 }, { signal: stop.signal });
  stop.abort();
  await assert.rejects(
    asked,
    (error) => error instanceof UnderstudyError && error.code === 'cancelled',
  );
});
