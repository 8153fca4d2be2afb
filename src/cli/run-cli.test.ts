import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPLICA_VIEW } from '../api/testing/fake-controller.ts';
import { OPERATION, REPLICA, VM_SUMMARY } from '../api/testing/sample-values.ts';
import { UnderstudyError } from '../domain/error.ts';
import { branchId, replicaId } from '../domain/ids.ts';
import { parseWindow } from '../domain/replication/window.ts';
import type { CreateJob } from '../ports/job-orders.ts';
import { openCliRoom, openServedRoom } from './testing/cli-room.ts';

const DONE = { ...OPERATION, state: 'succeeded' } as const;

const HTTP = { type: 'http', port: 80, path: '/', status: null, deadlineSeconds: 180 } as const;

const GROUPS = [
  'host',
  'guard',
  'vm',
  'job',
  'replica',
  'point',
  'archive',
  'test',
  'operation',
].map((name) => [name] as const);

/** Every command: its line, and the call it must make. */
const COMMANDS: [string, readonly unknown[]][] = [
  ['host list', ['hosts']],
  ['host show a', ['host', 'a']],
  ['host remove a', ['removeHost', 'a']],
  ['guard show a', ['guard', 'a']],
  ['guard install a', ['installGuard', 'a', null]],
  ['guard install a --hooks /opt/hooks', ['installGuard', 'a', '/opt/hooks']],
  ['guard lift a web', ['liftGuard', 'a', 'web']],
  ['guard remove a', ['removeGuard', 'a']],
  ['vm list a', ['vms', 'a']],
  ['job list', ['jobs']],
  ['job show web', ['job', 'web']],
  ['job run web --vm web-01 --vm db', ['runJob', 'web', ['web-01', 'db']]],
  ['job run web', ['runJob', 'web', null]],
  ['job pause web', ['setJobPaused', 'web', true]],
  ['job resume web', ['setJobPaused', 'web', false]],
  ['job delete web', ['deleteJob', 'web']],
  ['replica list', ['replicas']],
  ['replica show r', ['replica', 'r']],
  ['replica seed r --none', ['seedReplica', 'r', null]],
  ['replica seed r vm:old', ['seedReplica', 'r', { type: 'vm', vm: 'old' }]],
  ['replica rescan r', ['rescan', 'r', false]],
  ['replica rescan r --repair', ['rescan', 'r', true]],
  ['replica verify r', ['verify', 'r', null]],
  ['replica verify r --point latest', ['verify', 'r', { type: 'latest' }]],
  ['replica remove r', ['removeReplica', 'r']],
  ['replica delete r', ['deleteReplica', 'r']],
  ['point list r', ['points', 'r']],
  ['point show r latest', ['point', 'r', { type: 'latest' }]],
  ['point pin r pt-a', ['setPointPinned', 'r', { type: 'reference', reference: 'pt-a' }, true]],
  ['point unpin r latest', ['setPointPinned', 'r', { type: 'latest' }, false]],
  [
    'failover r --point pt-a --reason drill --fence power-off --accept-duplicate',
    [
      'failover',
      'r',
      {
        point: { type: 'reference', reference: 'pt-a' },
        reason: 'drill',
        fence: 'power-off',
        acceptDuplicate: true,
        acceptDrift: false,
      },
    ],
  ],
  [
    'failover r --dry-run',
    [
      'previewFailover',
      'r',
      {
        point: { type: 'latest' },
        reason: '',
        fence: 'none',
        acceptDuplicate: false,
        acceptDrift: false,
      },
    ],
  ],
  ['undo-failover r', ['undoFailover', 'r', { force: false, keepFence: false }]],
  ['undo-failover r --force', ['undoFailover', 'r', { force: true, keepFence: false }]],
  ['undo-failover r --keep-fence', ['undoFailover', 'r', { force: false, keepFence: true }]],
  ['permanent-failover r', ['permanentFailover', 'r']],
  [
    'operation list --open --kind failover --limit 3 --subject rep-a1',
    ['operations', { subject: 'rep-a1', kind: 'failover', open: true, limit: 3 }],
  ],
  [
    'test run r --point latest --point pt-a --probe tcp:22 --hold 30m',
    [
      'testFailover',
      'r',
      {
        points: [{ type: 'latest' }, { type: 'reference', reference: 'pt-a' }],
        probes: [{ type: 'tcp', port: 22, deadlineSeconds: 180 }],
        holdSeconds: 1800,
      },
    ],
  ],
  [
    'test run r --keep --no-wait',
    [
      'testFailover',
      'r',
      {
        points: [{ type: 'latest' }],
        probes: [{ type: 'agent', deadlineSeconds: 180 }],
        holdSeconds: 86_400,
      },
    ],
  ],
  [
    'test list r --open',
    ['operations', { subject: 'r', kind: 'test-failover', open: true, limit: 50 }],
  ],
  ['test show op-a1', ['operation', 'op-a1']],
  ['test end op-a1', ['endTest', 'op-a1']],
  ['bisect r --probe http:80', ['bisect', 'r', [HTTP]]],
  ['operation show op-a1', ['operation', 'op-a1']],
  ['operation retry op-a1', ['retryOperation', 'op-a1']],
  ['operation cancel op-a1', ['cancelOperation', 'op-a1']],
  ['status', ['overview']],
];

for (const [line, call] of COMMANDS) {
  test(`${line}: the right call, exit code 0, and JSON on request`, async (t) => {
    const { run, fake } = await openServedRoom(t);
    fake.put(DONE);
    const table = await run(line);
    assert.equal(table.code, 0, table.err);
    assert.deepEqual(fake.calls.find(([verb]) => verb === call[0])?.slice(0, call.length), call);
    const json = await run([...line.split(' '), '-o', 'json']);
    assert.equal(json.code, 0);
    assert.equal(typeof JSON.parse(json.out), 'object');
  });
}

test('job change sends what was given and nothing else, and shows old, new, and from when on', async (t) => {
  const { run, fake } = await openServedRoom(t, 'tcp');
  const changed = await run([
    ...['job', 'change', 'web', '--name', 'shop', '--rpo', '1h', '--schedule', '--window', 'none'],
    ...['--keep', '3', '--keep-tier', '1h:1d', '--quiesce', 'never', '--network', 'lan=dr'],
    ...['--network', 'wan=', '--limit', 'none', '--archive', '2d', '--scratch-quota', 'none'],
    ...['--test-every', '7d', '--probe', 'agent', '--answers', 'a=b=none'],
    ...['--answers', 'web-01=tcp:10.0.0.5:22', '--answers', 'web-01=tcp:10.0.0.6:22'],
  ]);
  assert.equal(changed.code, 0, changed.err);
  assert.deepEqual(fake.calls[0]?.slice(0, 3), [
    'changeJob',
    'web',
    {
      name: 'shop',
      rpoSeconds: 3600,
      isScheduled: true,
      windows: [],
      retention: { keepLast: 3, tiers: [{ everySeconds: 3600, forSeconds: 86_400 }] },
      quiesce: 'never',
      networks: { lan: 'dr', wan: null },
      bytesPerSecondMax: null,
      archiveSeconds: 172_800,
      scratch: { quotaBytes: null },
      testing: { everySeconds: 604_800, probes: [{ type: 'agent', deadlineSeconds: 180 }] },
      answers: [
        { vm: 'a=b', at: [] },
        {
          vm: 'web-01',
          at: [
            { type: 'tcp', address: '10.0.0.5', port: 22 },
            { type: 'tcp', address: '10.0.0.6', port: 22 },
          ],
        },
      ],
    },
  ]);
  assert.match(changed.out, /SETTING +OLD +NEW +TAKES EFFECT\nRPO +15m +5m +at once: the next/);
  assert.match(changed.out, /is changed \(op-/);
  const byHand = await run('job change web --no-schedule --test-every never');
  assert.equal(byHand.code, 0, byHand.err);
  assert.deepEqual(fake.calls[1]?.[2], { isScheduled: false, testing: null });
});

test('job change --dry-run and job create --dry-run ask, and change nothing', async (t) => {
  const { run, fake } = await openServedRoom(t);
  assert.equal((await run('job change web --rpo 5m --dry-run')).code, 0);
  const create = 'job create web --source a --target b --vm web-01 --dry-run';
  const made = await run(create);
  assert.match(made.out, /Replicas: +web-01-replica is made for web-01/);
  assert.deepEqual(
    fake.calls.map(([verb]) => verb),
    ['previewJobChange', 'previewJob'],
  );
  fake.answers.previewJobChange = {
    ...(await fake.controller.previewJobChange(
      'web',
      {},
      { signal: new AbortController().signal },
    )),
    isBlocked: true,
  };
  assert.equal((await run('job change web --rpo 5m --dry-run')).code, 3);
});

for (const line of [
  'job change web',
  'job change web --window none --window 22:00-06:00',
  'job change web --test-every never --probe agent',
  'job change web --answers nonsense',
]) {
  test(`${line}: a sentence, and exit code 2`, async (t) => {
    const { run, fake } = await openServedRoom(t);
    const refused = await run(line);
    assert.equal(refused.code, 2);
    assert.notEqual(refused.err, '');
    assert.deepEqual(fake.calls, []);
  });
}

test('status names the host that does not answer first, and what that means to whom', async (t) => {
  const { run } = await openServedRoom(t);
  const { out } = await run('status');
  assert.match(out, /1 host, 1 silent/);
  assert.match(out, /production +\S.* ago +Host production does not answer: no route to host\./);
  assert.match(out, / {2}web-01-replica \(source\) +no restore points until it answers/);
  const { silentHosts } = JSON.parse((await run('status -o json')).out);
  assert.deepEqual(Object.keys(silentHosts[0]), [
    'hostId',
    'hostName',
    'since',
    'because',
    'replicas',
  ]);
});

test('host add and job create send everything they were given', async (t) => {
  const { run, fake } = await openServedRoom(t, 'tcp');
  const added = await run(
    'host add lab --uri qemu:///session --storage /srv/u --scratch /var/tmp/s --slots 3 --tests 4 ' +
      '--storage-reserve 20GiB',
  );
  assert.equal(added.code, 0, added.err);
  assert.deepEqual(fake.calls[0]?.[1], {
    name: 'lab',
    kind: 'libvirt',
    address: 'qemu:///session',
    storageFolder: '/srv/u',
    scratchFolder: '/var/tmp/s',
    transferSlots: 3,
    testSlots: 4,
    storageReserveBytes: 20 * 1024 ** 3,
  });
  const created = await run(
    'job create web --source a --target b --vm web-01 --vm --odd --rpo 5m --keep 3 --keep-tier 1h:1d ' +
      '--keep-tier 1d:4w --quiesce never --network lan=dr --network wan= --limit 50MiB --suffix .dr ' +
      '--archive 2d --scratch-quota 1GiB --scratch-reserve 0 --scratch-deadline 1h30m --no-schedule ' +
      '--test-every 7d --probe http:80/health --probe agent@90s ' +
      '--answers web-01=tcp:10.0.0.5:22 --answers a=b=http:x:80/=204',
  );
  assert.equal(created.code, 0, created.err);
  assert.deepEqual(fake.calls[1]?.[1], {
    name: 'web',
    sourceHost: 'a',
    targetHost: 'b',
    vms: ['web-01', '--odd'],
    rpoSeconds: 300,
    isScheduled: false,
    windows: [],
    retention: {
      keepLast: 3,
      tiers: [
        { everySeconds: 3600, forSeconds: 86_400 },
        { everySeconds: 86_400, forSeconds: 28 * 86_400 },
      ],
    },
    quiesce: 'never',
    replicaSuffix: '.dr',
    networkMap: { lan: 'dr', wan: null },
    bytesPerSecondMax: 50 * 2 ** 20,
    archiveSeconds: 2 * 86_400,
    scratch: { quotaBytes: 2 ** 30, reserveBytes: 0, deadlineMs: 5_400_000 },
    testing: {
      everySeconds: 7 * 86_400,
      probes: [
        { type: 'http', port: 80, path: '/health', status: null, deadlineSeconds: 180 },
        { type: 'agent', deadlineSeconds: 90 },
      ],
    },
    answers: [
      { vm: 'web-01', at: { type: 'tcp', address: '10.0.0.5', port: 22 } },
      { vm: 'a=b', at: { type: 'http', address: 'x', port: 80, path: '/', status: 204 } },
    ],
  });
});

test('windows of a job are sent as they are read, shown in UTC, and make no sense without the clock', async (t) => {
  const { run, fake } = await openServedRoom(t, 'tcp');
  const create = ['job', 'create', 'web', '--source', 'a', '--target', 'b', '--vm', 'web-01'];
  const windows = ['--window', 'sat,sun 00:00-24:00', '--window', '22:00-06:00'];
  const created = await run([...create, ...windows]);
  assert.equal(created.code, 0, created.err);
  const sent = fake.calls[0]?.[1] as CreateJob;
  const read = ['sat,sun 00:00-24:00', '22:00-06:00'].map(parseWindow);
  assert.deepEqual(sent.windows, read);
  const shown = await run('job show nightly');
  assert.match(shown.out, /Windows: +mon-tue 22:00-06:00 UTC\n/);
  const unread = await run([...create, '--window', '10pm-6am']);
  assert.notEqual(unread.code, 0);
  assert.match(unread.err, /The window 10pm-6am cannot be read .*times are UTC/);
  const byHand = await run([...create, ...windows, '--no-schedule']);
  assert.equal(byHand.code, 2);
});

test('a mistyped command, option or value is exit code 2 and says how it is used', async (t) => {
  const { run } = await openCliRoom(t);
  for (const line of [
    'hots',
    'host',
    'host lsit',
    'host show',
    'host list extra',
    'host list --nope',
    'host list -o yaml',
    'host add x --uri y',
    'failover r --fence maybe',
    'bisect r',
    'test run r --hold soon',
    'job create n --source a --target b --vm v --probe agent',
    'completion tcsh',
    'failback r --copy a --new',
    'failback r --name web',
    'failback r --copy a --name web',
    'failback r --switchover soon',
    'failover r --point latest --archive br-a',
    'archive keep r br-a --until 2026-03-01T12:00:00',
    'archive keep r br-a --until 2026-02-31',
    'archive keep r br-a --until 999999999w',
    'failback r --switchover 2026-02-31T03:00:00Z',
    'job create n --source a --target b --vm v --network lan=x --network lan=',
    'operation list --limit many',
    'job create n --source a --target b --vm v --rpo soon',
    'job create n --source a --target b --vm v --limit fast',
    'job create n --source a --target b --vm v --keep-tier 1h',
    'job create n --source a --target b --vm v --network lan',
    'host list --server http://198.51.100.1:80',
  ]) {
    const { code, out, err } = await run(line);
    assert.equal(code, 2, line);
    assert.equal(out, '');
    assert.notEqual(err, '');
  }
});

test('help of every command teaches with an example and goes to stdout', async (t) => {
  const { run } = await openCliRoom(t);
  const top = await run('--help');
  assert.equal(top.code, 0);
  assert.match(top.out, /Exit codes:[\s\S]*69 {2}no server answers/);
  for (const [line] of [...COMMANDS, ...GROUPS]) {
    const words = line
      .split(' ')
      .slice(0, /^(host|vm|job|replica|point|test|operation|guard) /.test(line) ? 2 : 1);
    const { code, out, err } = await run([...words, '--help']);
    assert.equal(code, 0, err);
    assert.match(out, /Examples?:\n {2}\$ understudy/);
  }
  assert.equal((await run('--version')).out, '9.9.9\n');
});

test('help of a command is also had by `help`, and of none that there is not', async (t) => {
  const { run } = await openCliRoom(t);
  for (const [asked, same] of [
    ['help', '--help'],
    ['help job', 'job --help'],
    ['help job run', 'job run --help'],
  ] as const) {
    const { code, out } = await run(asked);
    assert.deepEqual([code, out], [0, (await run(same)).out], asked);
  }
  for (const nothing of ['help nothing', 'help job nothing', 'help job run nothing']) {
    const { code, out, err } = await run(nothing);
    assert.deepEqual([code, out], [2, ''], nothing);
    assert.match(err, /unknown command/);
  }
});

test('without a server: exit code 69 and what to do', async (t) => {
  const { run, folder } = await openCliRoom(t);
  const never = await run('host list');
  assert.equal(never.code, 69);
  assert.ok(never.err.startsWith(`understudy: No server runs with the data folder ${folder}.`));
  assert.ok(never.err.includes(`understudy serve --data ${folder}`));
  await writeFile(join(folder, 'server.json'), '{"address":"unix:/nowhere/api.sock","pid":1}');
  await writeFile(join(folder, 'token'), 't');
  const gone = await run('host list');
  assert.equal(gone.code, 69);
  assert.match(gone.err, /No server answers at unix:\/nowhere\/api\.sock \(ENOENT\)/);
  await writeFile(join(folder, 'server.json'), '{"address":');
  assert.equal((await run('host list')).code, 69);
  assert.equal((await run('version')).out, 'understudy 9.9.9 (server: not reachable)\n');
});

test('errors of every kind have their exit code and the whole sentence', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const cases: [UnderstudyError, number][] = [
    [
      new UnderstudyError('ambiguous-reference', {
        what: 'job',
        reference: 'w',
        candidates: 'a, b',
      }),
      2,
    ],
    [new UnderstudyError('job-missing', { job: 'w' }), 4],
    [new UnderstudyError('name-taken', { what: 'job', name: 'w' }), 3],
    [new UnderstudyError('host-unreachable', { host: 'w', reason: 'x' }), 1],
    [new UnderstudyError('cancelled'), 5],
    [new UnderstudyError('unexpected', { reason: 'x' }), 70],
  ];
  for (const [error, expected] of cases) {
    fake.failNext('job', error);
    const { code, out, err } = await run('job show w');
    assert.equal(code, expected);
    assert.equal(out, '');
    if (expected !== 70) assert.equal(err, `understudy: ${error.message}\n`);
  }
});

test('with -o json an error is one line of JSON, whoever found it', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.failNext('job', new UnderstudyError('job-missing', { job: 'w' }));
  const told = await run('job show w -o json');
  assert.equal(told.code, 4);
  assert.equal(told.out, '');
  const { exitCode, message, problem } = JSON.parse(told.err);
  assert.equal(exitCode, 4);
  assert.equal(message, 'There is no job w. See `understudy job list`.');
  assert.equal(problem.code, 'job-missing');
  for (const line of [
    '-o ndjson job',
    'job show -o json',
    'failback r -o json --switchover soon',
  ]) {
    const usage = await run(line);
    assert.equal(usage.code, 2, line);
    const error = JSON.parse(usage.err);
    assert.equal(error.exitCode, 2);
    assert.equal(error.problem, null);
  }
});

test('a planned failover of several begins only when all are known, and says who was refused', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put(DONE);
  fake.failNext('replica', new UnderstudyError('replica-missing', { replica: 'b' }));
  const misspelt = await run('planned-failover a b');
  assert.equal(misspelt.code, 4);
  assert.ok(!fake.calls.some(([verb]) => verb === 'plannedFailover'));
  let asked = 0;
  Object.defineProperty(fake.answers, 'replica', {
    get: () => ({ ...REPLICA_VIEW, replica: { ...REPLICA, id: replicaId(`rp-${++asked}`) } }),
  });
  fake.failNext('plannedFailover', new UnderstudyError('vm-not-off', { vm: 'web' }));
  const partly = await run('planned-failover a b');
  assert.equal(partly.code, 3);
  assert.match(partly.out, /succeeded/);
  assert.match(partly.err, /VM web is not off/);
});

test('the version of a server is not reachable only where none is reached', async (t) => {
  const alone = await (await openCliRoom(t)).run('version');
  assert.deepEqual([alone.code, alone.out], [0, 'understudy 9.9.9 (server: not reachable)\n']);
  const { run } = await openServedRoom(t);
  const bogus = await run('--server bogus version');
  assert.equal(bogus.code, 2);
  assert.match(bogus.err, /not "bogus"/);
  const strange = await run('version', { environment: { UNDERSTUDY_TOKEN: 'wrong' } });
  assert.equal(strange.code, 2);
  assert.equal(strange.out, '');
});

test('a rescan of all says which one was refused, and waits for the others all the same', async (t) => {
  const { run, fake } = await openServedRoom(t);
  fake.put(DONE);
  fake.answers.replicas = [REPLICA_VIEW, REPLICA_VIEW];
  fake.failNext('rescan', new UnderstudyError('vm-not-off', { vm: 'web' }));
  const partly = await run('rescan');
  assert.equal(partly.code, 3);
  assert.match(partly.out, /succeeded/);
  assert.match(partly.err, /VM web is not off/);
});

test('a blocked job lists what blocks it and is exit code 3; warnings do not stop it', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const blocking = { severity: 'blocks', element: 'disk vdb', message: 'it is a CD' } as const;
  const warning = {
    severity: 'warns',
    element: 'device tpm',
    message: 'its state is copied',
  } as const;
  const line = 'job create web --source a --target b --vm web-01';
  const findings = [{ vm: { ...VM_SUMMARY, name: 'a\u001b[2J' }, findings: [blocking, warning] }];
  fake.answers.createJob = { type: 'blocked', findings };
  const blocked = await run(line);
  assert.equal(blocked.code, 3);
  assert.match(blocked.err, /^blocks: "a\\u001b\[2J" disk vdb: it is a CD\nwarning: /);
  delete fake.answers.createJob;
  const created = await run(line);
  assert.equal(created.code, 0);
});

test('a dry run that would be refused says so with exit code 3', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const preview = await fake.controller.previewFailover(
    'r',
    {
      point: { type: 'latest' },
      reason: '',
      fence: 'none',
      acceptDuplicate: false,
      acceptDrift: false,
    },
    { signal: new AbortController().signal },
  );
  const free = await run('failover r --dry-run');
  assert.match(free.out, /Writes lost: +about 1m 1s \(the source runs\)/);
  assert.match(free.out, /NICs: +connected: no, because the source runs/);
  assert.doesNotMatch(free.out, /Archive/);
  const refusedBecause = 'the chain has drifted';
  fake.answers.previewFailover = { ...preview, refusedBecause, archiveId: branchId('br-a') };
  const refused = await run('failover r --dry-run');
  assert.equal(refused.code, 3);
  assert.match(refused.out, /Refused: +the chain has drifted/);
  assert.match(refused.out, /Archive: +br-a, over that point/);
});

test('the environment names folder, server and token; options win', async (t) => {
  const { run, folder, fake } = await openServedRoom(t);
  const elsewhere = { defaultDataFolder: '/nonexistent' };
  const byFolder = await run('host list', {
    ...elsewhere,
    environment: { UNDERSTUDY_DATA: folder },
  });
  assert.equal(byFolder.code, 0, byFolder.err);
  const server = `unix:${folder}/api.sock`;
  const environment = { UNDERSTUDY_SERVER: server, UNDERSTUDY_TOKEN: 'wrong' };
  const wrongToken = await run('host list', { ...elsewhere, environment });
  assert.equal(wrongToken.code, 2);
  assert.match(wrongToken.err, /no valid access token/);
  const brokenToken = await run('host list', { environment: { UNDERSTUDY_TOKEN: 'a\nb' } });
  assert.equal(brokenToken.code, 2);
  const unset = { UNDERSTUDY_SERVER: '', UNDERSTUDY_TOKEN: '', UNDERSTUDY_DATA: '' };
  assert.equal((await run('host list', { environment: unset })).code, 0);
  const options = await run(`host list --data ${folder} --server ${server}`, {
    environment: { UNDERSTUDY_DATA: '/nonexistent', UNDERSTUDY_SERVER: 'unix:/nonexistent' },
  });
  assert.equal(options.code, 0, options.err);
  assert.equal(fake.calls.length, 3);
});

test('serve hands its options on', async (t) => {
  const { run, served, folder } = await openCliRoom(t);
  await run('serve --listen 127.0.0.1:7070 --data /srv/u');
  await run('serve');
  assert.deepEqual(served, [
    { dataFolder: '/srv/u', listen: '127.0.0.1:7070' },
    { dataFolder: folder, listen: null },
  ]);
});

test('ndjson writes one object per line', async (t) => {
  const { run } = await openServedRoom(t);
  const { out } = await run('host list -o ndjson');
  const lines = out.trimEnd().split('\n');
  assert.equal(lines.length, 1);
  assert.equal(JSON.parse(lines[0] ?? '').name, 'production');
});
