import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemSchema } from '../contract/problem.ts';
import { openApiRoom, TOKEN } from './testing/api-room.ts';

const REFUSED: [string, Record<string, string>, number, string][] = [
  ['no token', { authorization: '' }, 401, 'token-refused'],
  ['another scheme', { authorization: `Basic ${TOKEN}` }, 401, 'token-refused'],
  ['a wrong token', { authorization: 'Bearer wrong' }, 401, 'token-refused'],
  [
    'the beginning of the token',
    { authorization: `Bearer ${TOKEN.slice(0, -1)}` },
    401,
    'token-refused',
  ],
  ['the token and more', { authorization: `Bearer ${TOKEN}x` }, 401, 'token-refused'],
  ['a rebound name', { host: 'evil.example:7070' }, 403, 'origin-refused'],
  ['a name that begins like ours', { host: 'localhost.evil.example' }, 403, 'origin-refused'],
  ['another origin', { origin: 'https://evil.example' }, 403, 'origin-refused'],
  ['a sandboxed page', { origin: 'null' }, 403, 'origin-refused'],
  [
    'another port of ours',
    { host: 'localhost:1', origin: 'http://localhost:2' },
    403,
    'origin-refused',
  ],
  ['a cross-site fetch', { 'sec-fetch-site': 'cross-site' }, 403, 'origin-refused'],
  ['a same-site fetch', { 'sec-fetch-site': 'same-site' }, 403, 'origin-refused'],
];

for (const [what, headers, expected, code] of REFUSED) {
  test(`${what} is refused before anything is done`, async (t) => {
    const { request, fake } = openApiRoom(t);
    for (const url of ['/api/v1/hosts', '/api/v1/events', '/openapi.json', '/nowhere']) {
      const { status, answer, headers: answered } = await request('GET', url, { headers });
      assert.equal(status, expected, url);
      assert.equal(problemSchema.parse(answer).code, code);
      assert.equal(answered['www-authenticate'], expected === 401 ? 'Bearer' : undefined);
    }
    assert.deepEqual(fake.calls, []);
    assert.equal(fake.listenerCount(), 0);
  });
}

test('our own names and our own page are let in', async (t) => {
  const { request } = openApiRoom(t);
  const accepted: Record<string, string>[] = [
    { host: 'localhost' },
    { host: '127.0.0.1:7070' },
    { host: '[::1]:7070' },
    { host: 'LOCALHOST:7070' },
    { host: 'localhost:7070', origin: 'http://localhost:7070', 'sec-fetch-site': 'same-origin' },
  ];
  for (const headers of accepted) {
    assert.equal((await request('GET', '/api/v1/hosts', { headers })).status, 200);
  }
});

test('an empty token opens nothing', async (t) => {
  const { request } = openApiRoom(t);
  for (const authorization of ['Bearer ', 'Bearer', 'bearer  ']) {
    assert.equal(
      (await request('GET', '/api/v1/hosts', { headers: { authorization } })).status,
      401,
    );
  }
});
