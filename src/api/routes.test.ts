import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ENDPOINTS, type EndpointName, fillPath } from '../contract/endpoints.ts';
import { openApiDocument } from '../contract/openapi.ts';
import { problemSchema } from '../contract/problem.ts';
import { ROUTES, type Route } from '../contract/routes.ts';
import { UnderstudyError } from '../domain/error.ts';
import { parseWindow } from '../domain/replication/window.ts';
import { pointSelector } from './point-selector.ts';
import { openApiRoom } from './testing/api-room.ts';
import { OPERATION, VM_SUMMARY } from './testing/sample-values.ts';

const NAMES = Object.keys(ENDPOINTS) as EndpointName[];
const PARAMETERS = {
  host: 'h',
  job: 'j',
  replica: 'r',
  point: 'latest',
  operation: 'op-a1',
  archive: 'br-a0',
  test: 'tst-1',
  vm: 'web-01',
  name: 'serial.txt',
};

/** The smallest body that each endpoint takes. */
const BODIES: Partial<Record<EndpointName, object>> = {
  answerOperation: { answer: 'wait' },
  keepArchive: { until: '2026-04-01T00:00:00Z' },
  fenceSource: { fence: 'nics' },
  addHost: { name: 'lab', address: 'qemu:///system', storageFolder: '/srv/u' },
  seedReplica: { from: null },
  bisect: { probes: ['agent'] },
  createJob: { name: 'web', sourceHost: 'a', targetHost: 'b', vms: ['web-01'] },
  previewJob: { name: 'web', sourceHost: 'a', targetHost: 'b', vms: ['web-01'] },
};

for (const name of NAMES) {
  test(`${name} answers as the contract says`, async (t) => {
    const { request } = openApiRoom(t);
    const { method, path } = ENDPOINTS[name];
    const body = BODIES[name];
    const url = fillPath(path, PARAMETERS);
    const { status, answer } = await request(method, url, body === undefined ? {} : { body });
    assert.equal(status, ROUTES[name].status);
    const parsed = (ROUTES[name] as Route).answer.safeParse(answer);
    assert.deepEqual(parsed.error?.issues ?? [], []);
    assert.deepEqual(parsed.data, answer);
  });
}

test('an unknown field is refused and named', async (t) => {
  const { request, fake } = openApiRoom(t);
  const body = { ...BODIES.createJob, rpo: 3, retention: { keepLast: 0, tiers: [] } };
  const { status, type, answer } = await request('POST', '/api/v1/jobs', { body });
  assert.equal(status, 400);
  assert.equal(type, 'application/problem+json');
  const problem = problemSchema.parse(answer);
  assert.equal(problem.code, 'invalid-request');
  const paths = problem.violations?.map(({ path }) => path).sort();
  assert.deepEqual(paths, ['body', 'body.retention.keepLast']);
  assert.match(JSON.stringify(problem.violations), /must be at least 1".*has no .*rpo/);
  assert.deepEqual(fake.calls, []);
});

test('an unknown query field, a bad limit and an empty reference are refused', async (t) => {
  const { request } = openApiRoom(t);
  for (const url of [
    '/api/v1/operations?limt=3',
    '/api/v1/operations?limit=-1',
    '/api/v1/operations?kind=explode',
    `/api/v1/jobs/${'x'.repeat(257)}`,
  ]) {
    assert.equal((await request('GET', url)).status, 400, url);
  }
});

test('a body nested without end is refused as a wrong one, not taken for a bug', async (t) => {
  const { request, logged } = openApiRoom(t);
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'k-1' };
  for (const body of [deep, `{"name":${deep}}`]) {
    const { status } = await request('POST', '/api/v1/jobs', { headers, body });
    assert.equal(status, 400);
  }
  assert.deepEqual(logged, []);
});

test('bodies of other types, broken or too large are refused with a problem', async (t) => {
  const { request } = openApiRoom(t);
  const cases: [string, string | undefined, number][] = [
    ['name=web', 'application/x-www-form-urlencoded', 415],
    ['{}', 'text/plain', 415],
    ['{"name":', 'application/json', 400],
    ['', 'application/json', 400],
    ['{"__proto__":{"x":1}}', 'application/json', 400],
    [`{"name":"${'x'.repeat(300 * 1024)}"}`, 'application/json', 413],
  ];
  for (const [body, contentType, expected] of cases) {
    const headers = contentType === undefined ? {} : { 'content-type': contentType };
    const { status, answer } = await request('POST', '/api/v1/jobs', { headers, body });
    assert.equal(status, expected, body.slice(0, 40));
    problemSchema.parse(answer);
  }
});

test('no JSON body makes anything but a success or a problem document', async (t) => {
  const { request, logged } = openApiRoom(t);
  const names = NAMES.filter((name) => ENDPOINTS[name].method !== 'GET');
  const known = fc.constantFrom('name', 'vms', 'point', 'repair', 'force', 'networkMap', 'scratch');
  const body = fc.oneof(
    fc.json(),
    fc.dictionary(known, fc.jsonValue()).map((v) => JSON.stringify(v)),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...names), body, async (name, text) => {
      const { method, path } = ENDPOINTS[name];
      const headers = { 'content-type': 'application/json' };
      const url = fillPath(path, PARAMETERS);
      const { status, answer } = await request(method, url, { headers, body: text });
      if (status >= 400) assert.equal(problemSchema.parse(answer).status, status);
      assert.ok(status < 500, `${status}`);
    }),
    { numRuns: 150 },
  );
  assert.deepEqual(logged, []);
});

test('a reference of any characters arrives as it was sent', async (t) => {
  const { request, fake } = openApiRoom(t);
  // `.` and `..` are steps within a path, encoded or not (WHATWG URL, 4.4): nothing can be called so in an address.
  const reference = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
    .filter((text) => text !== '.' && text !== '..');
  await fc.assert(
    fc.asyncProperty(reference, async (host) => {
      const { status } = await request('GET', fillPath(ENDPOINTS.showHost.path, { host }));
      assert.equal(status, 200);
      assert.deepEqual(fake.calls.at(-1)?.slice(0, 2), ['host', host]);
    }),
    { numRuns: 60 },
  );
});

test('every answer that looks at a queued operation says what it waits for', async (t) => {
  const { request, fake } = openApiRoom(t);
  const { id, kind, title } = OPERATION;
  const wait = { message: 'others to end', limit: 64, taken: 64, hostId: null };
  fake.answers.waits = new Map([[id, [{ ...wait, heldBy: [OPERATION] }]]]);
  const waitsFor = [{ ...wait, heldBy: [{ id, kind, title, state: OPERATION.state }] }];
  for (const name of ['listOperations', 'showOperation', 'listReplicas', 'showReplica'] as const) {
    const { answer } = await request('GET', fillPath(ENDPOINTS[name].path, PARAMETERS));
    assert.ok(JSON.stringify(answer).includes(`"waitsFor":${JSON.stringify(waitsFor)}`), name);
  }
  const { answer } = await request('GET', ENDPOINTS.overview.path);
  assert.equal(JSON.stringify(answer).split(JSON.stringify(waitsFor)).length - 1, 2);
});

test('point selectors and defaults reach the controller parsed', async (t) => {
  const { request, fake } = openApiRoom(t);
  const url = '/api/v1/replicas/web/failover';
  await request('POST', url, { body: { point: '2026-03-01T12:00:00Z', fence: 'nics' } });
  await request('POST', url);
  await request('POST', url, { body: { point: 'pt-a' } });
  const common = { reason: '', fence: 'none', acceptDuplicate: false, acceptDrift: false };
  assert.deepEqual(
    fake.calls.map(([verb, replica, order]) => [verb, replica, order]),
    [
      [
        'failover',
        'web',
        {
          ...common,
          fence: 'nics',
          point: { type: 'at', instant: Date.UTC(2026, 2, 1, 12) + 999 },
        },
      ],
      ['failover', 'web', { ...common, point: { type: 'latest' } }],
      ['failover', 'web', { ...common, point: { type: 'reference', reference: 'pt-a' } }],
    ],
  );
});

test('a path that cannot be routed, and a body that is not JSON, are problems like all others', async (t) => {
  const { request } = openApiRoom(t);
  const json = { 'content-type': 'application/xml' };
  for (const { url, headers, status } of [
    { url: '/api/v1/replicas/%E0%A4%A', headers: {}, status: 400 },
    { url: `/api/v1/replicas/${'x'.repeat(5000)}`, headers: {}, status: 400 },
    { url: '/api/v1/jobs', headers: json, status: 415 },
  ]) {
    const answer = await request('POST', url, { headers, body: '<a/>' });
    assert.equal(answer.status, status, url);
    assert.equal(answer.type, 'application/problem+json');
    assert.equal(problemSchema.parse(answer.answer).code, 'invalid-request');
  }
});

test('a point is found by the time that tables show it with; a time without a zone is refused', () => {
  const noon = Date.UTC(2026, 2, 1, 12);
  const of = (text: string) => pointSelector(text);
  assert.deepEqual(of('2026-03-01 12:00:00Z'), { type: 'at', instant: noon + 999 });
  assert.deepEqual(of('2026-03-01T12:00:00.000Z'), { type: 'at', instant: noon });
  assert.deepEqual(of('2026-03-01T13:00+01:00'), { type: 'at', instant: noon });
  assert.throws(() => of('2026-03-01T12:00:00'), { code: 'invalid-request', message: /zone/ });
  // Not the newest point before the third of March.
  assert.throws(() => of('2026-02-31T12:00:00Z'), { code: 'invalid-request', message: /a day/ });
});

test('one idempotency key and one request make one seed; another request makes another', async (t) => {
  const { request, fake } = openApiRoom(t);
  const headers = { 'idempotency-key': 'k1' };
  const url = '/api/v1/replicas/web/rescan';
  await request('POST', url, { headers, body: { repair: true } });
  await request('POST', url, { headers, body: { repair: true } });
  await request('POST', url, { headers, body: { repair: false } });
  await request('POST', url, { body: { repair: true } });
  const seeds = fake.calls.map((call) => (call[3] as { seed: string | null }).seed);
  assert.match(seeds[0] ?? '', /^[0-9a-f]{24}$/);
  assert.equal(seeds[1], seeds[0]);
  assert.notEqual(seeds[2], seeds[0]);
  assert.equal(seeds[3], null);
  const bad = await request('POST', url, { headers: { 'idempotency-key': 'a b' } });
  assert.equal(bad.status, 400);
});

test('kinds become statuses; a phase says what it allows', async (t) => {
  const { request, fake } = openApiRoom(t);
  const cases: [UnderstudyError, number][] = [
    [new UnderstudyError('ambiguous-reference', { what: 'job' }), 400],
    [new UnderstudyError('job-missing', { job: 'x' }), 404],
    [new UnderstudyError('name-taken', { what: 'job', name: 'x' }), 409],
    [new UnderstudyError('host-unreachable', { host: 'x', reason: 'y' }), 503],
    [new UnderstudyError('cancelled'), 409],
  ];
  for (const [error, expected] of cases) {
    fake.failNext('job', error);
    const { status, answer } = await request('GET', '/api/v1/jobs/x');
    assert.equal(status, expected);
    assert.equal(problemSchema.parse(answer).detail, error.message);
  }
  const phase = { replica: 'rep-a1', phase: 'Failover', operation: 'failover', allowed: '…' };
  fake.failNext('failover', new UnderstudyError('not-allowed-in-phase', phase));
  const { answer } = await request('POST', '/api/v1/replicas/web/failover');
  const { allowedOperations } = problemSchema.parse(answer);
  assert.deepEqual(allowedOperations, [
    'undo-failover',
    'permanent-failover',
    'failback',
    'test-failover',
    'bisect',
    'verify',
    'rescan',
    'hop',
    'export',
    'keep-archive',
    'delete-archive',
    'fence',
    'unfence',
  ]);
});

test('an unexpected error is logged and tells nothing', async (t) => {
  const { request, fake, logged } = openApiRoom(t);
  const errors = [
    new Error('ENOENT: /secret/path'),
    new UnderstudyError('unexpected', { reason: '/secret/path' }),
    Object.assign(new Error('/secret/path'), { statusCode: 502 }),
    '/secret/path',
  ];
  for (const error of errors) {
    fake.failNext('hosts', error);
    const { status, answer } = await request('GET', '/api/v1/hosts');
    assert.equal(status, 500);
    assert.equal(problemSchema.parse(answer).kind, 'bug');
    assert.doesNotMatch(JSON.stringify(answer), /secret|at .*\.ts/);
  }
  assert.equal(logged.length, errors.length);
});

test('a blocked job is a conflict with its findings', async (t) => {
  const { request, fake } = openApiRoom(t);
  const findings = [
    { severity: 'blocks', element: 'disk vdb', message: 'it is a block device.' },
  ] as const;
  fake.answers.createJob = { type: 'blocked', findings: [{ vm: VM_SUMMARY, findings }] };
  const { status, answer } = await request('POST', '/api/v1/jobs', { body: BODIES.createJob });
  assert.equal(status, 409);
  const problem = problemSchema.parse(answer);
  assert.equal(problem.code, 'preflight-blocked');
  assert.match(problem.detail, /disk vdb: it is a block device\. Fix/);
  assert.equal(problem.findings?.[0]?.vmName, 'web-01');
});

test('an unknown route and a wrong method are problems', async (t) => {
  const { request } = openApiRoom(t);
  for (const [method, url] of [
    ['GET', '/api/v2/jobs?x=1'],
    ['DELETE', '/api/v1/jobs'],
  ] as const) {
    const { status, answer } = await request(method, url);
    assert.equal(status, 404);
    assert.equal(problemSchema.parse(answer).code, 'route-missing');
  }
});

test('the OpenAPI document names every endpoint once', async (t) => {
  const { request } = openApiRoom(t);
  const { status, answer } = await request('GET', '/openapi.json');
  assert.equal(status, 200);
  assert.deepEqual(answer, JSON.parse(JSON.stringify(openApiDocument('1.2.3'))));
  const { paths } = answer as { paths: Record<string, Record<string, { operationId: string }>> };
  const ids = Object.values(paths).flatMap((methods) =>
    Object.values(methods).map((operation) => operation.operationId),
  );
  assert.deepEqual(ids.sort(), [...NAMES].sort());
});

test('a change of a job passes on what is there, and nothing else', async (t) => {
  const { request, fake } = openApiRoom(t);
  const body = {
    rpoSeconds: 300,
    windows: ['22:00-06:00'],
    retention: { keepLast: 3 },
    networkMap: { lan: null },
    testing: { probes: ['tcp:22'] },
    answers: [{ vm: 'web-01', at: ['tcp:10.0.0.5:22'] }, { at: [] }],
  };
  const { status } = await request('POST', '/api/v1/jobs/web/change', { body });
  assert.equal(status, 200);
  const [, job, change] = fake.calls.find(([verb]) => verb === 'changeJob') ?? assert.fail();
  assert.equal(job, 'web');
  assert.deepEqual(change, {
    rpoSeconds: 300,
    windows: [parseWindow('22:00-06:00')],
    retention: { keepLast: 3 },
    networks: { lan: null },
    testing: { probes: [{ type: 'tcp', port: 22, deadlineSeconds: 180 }] },
    answers: [
      { vm: 'web-01', at: [{ address: '10.0.0.5', type: 'tcp', port: 22 }] },
      { vm: null, at: [] },
    ],
  });
  await request('POST', '/api/v1/jobs/web/change-preview', { body: { testing: null } });
  assert.deepEqual(fake.calls.find(([verb]) => verb === 'previewJobChange')?.[2], {
    testing: null,
  });
});

test('a change that would break a replica is refused with what was found', async (t) => {
  const { request, fake } = openApiRoom(t);
  const findings = [
    { severity: 'blocks', element: 'network dr', message: 'There is none.' },
  ] as const;
  fake.answers.changeJob = { type: 'blocked', findings: [{ vm: VM_SUMMARY, findings }] };
  const { status, answer } = await request('POST', '/api/v1/jobs/web/change', { body: {} });
  assert.equal(status, 409);
  assert.equal(problemSchema.parse(answer).code, 'preflight-blocked');
});
