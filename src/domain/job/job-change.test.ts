import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddressProbe } from '../failover/address-probe.ts';
import { hostId, jobId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import { parseWindow } from '../replication/window.ts';
import { parseProbe } from '../test-failover/probe.ts';
import { DEFAULT_SCRATCH, type Job } from './job.ts';
import { changedJob, type JobChange } from './job-change.ts';
import { settingChanges } from './setting-changes.ts';

const WEB = vmId('00000000-0000-4000-8000-000000000001');
const JOB: Job = {
  id: jobId('job-1'),
  name: 'nightly',
  sourceHostId: hostId('host-a'),
  targetHostId: hostId('host-b'),
  vms: [{ vmId: WEB, name: 'web', excludedBecause: null }],
  rpoSeconds: 900,
  isScheduled: true,
  windows: [],
  isPaused: false,
  retention: { keepLast: 7, tiers: [{ everySeconds: 3600, forSeconds: 86_400 }] },
  quiesce: 'if-possible',
  replicaSuffix: '-replica',
  networkMap: { lan: 'dr', wan: null },
  bytesPerSecondMax: null,
  archiveSeconds: 86_400,
  scratch: DEFAULT_SCRATCH,
  testing: null,
  createdAt: instant(0),
};

function lines(change: JobChange, serving: readonly string[] = []): readonly string[] {
  const after = changedJob(JOB, change) ?? assert.fail('no period');
  return settingChanges(JOB, after, serving).map(
    (one) => `${one.setting}: ${one.from} → ${one.to}`,
  );
}

test('what is not given stays, and nothing given is no change', () => {
  assert.deepEqual(changedJob(JOB, {}), JOB);
  assert.deepEqual(lines({}), []);
  assert.deepEqual(lines({ rpoSeconds: 900, networks: { dmz: 'dmz' } }), []);
});

test('every setting that was changed is told, old and new', () => {
  const change: JobChange = {
    name: 'web',
    rpoSeconds: 5400,
    isScheduled: false,
    windows: [parseWindow('mon-fri 22:00-06:00')],
    retention: { keepLast: 3 },
    quiesce: 'required',
    bytesPerSecondMax: 1024 * 1024,
    archiveSeconds: 3600,
    scratch: { quotaBytes: 1024, reserveBytes: 2048, deadlineMs: 60_000 },
    networks: { lan: null, dmz: 'dr-dmz' },
    testing: { everySeconds: 86_400 },
    answers: [{ vmId: WEB, at: [parseAddressProbe('tcp:10.0.0.5:22')] }],
  };
  assert.deepEqual(lines(change), [
    'name: nightly → web',
    'RPO: 15m → 1h 30m',
    'schedule: by the clock → by hand only',
    'windows: at any time → mon-fri 22:00-06:00 UTC',
    'keep: the newest 7, one per 1h for 1d → the newest 3, one per 1h for 1d',
    'quiesce: if-possible → required',
    'limit: none → 1.00 MiB/s',
    'archive: 1d → 1h',
    'scratch quota: half of what is free → 1.00 KiB',
    'scratch reserve: 256 MiB → 2.00 KiB',
    'scratch deadline: 4h → 1m',
    'tests: by hand only → every 1d: agent',
    'network dmz: dmz → dr-dmz',
    'network lan: dr → disconnected',
    'answers of web: its agent alone → tcp:10.0.0.5:22',
  ]);
});

test('every field of a job is changed by some change, or is what makes it this job', () => {
  const kept = ['id', 'sourceHostId', 'targetHostId', 'isPaused', 'replicaSuffix', 'createdAt'];
  const after = changedJob(JOB, {
    name: 'x',
    rpoSeconds: 60,
    isScheduled: false,
    windows: [parseWindow('22:00-06:00')],
    retention: { keepLast: 1 },
    quiesce: 'never',
    networks: { a: 'b' },
    bytesPerSecondMax: 1,
    archiveSeconds: 1,
    scratch: { quotaBytes: 1 },
    testing: { everySeconds: 1 },
    answers: [{ vmId: WEB, at: [parseAddressProbe('tcp:a:1')] }],
  });
  const same = Object.keys(JOB).filter(
    (field) =>
      JSON.stringify(JOB[field as keyof Job]) === JSON.stringify(after?.[field as keyof Job]),
  );
  assert.deepEqual(same.sort(), kept.sort());
});

test('tests: a period alone takes the agent, probes alone need a period, and null ends them', () => {
  const probes = [parseProbe('http:80')];
  assert.equal(changedJob(JOB, { testing: { probes } }), null);
  const tested = changedJob(JOB, { testing: { everySeconds: 60, probes } }) ?? assert.fail();
  assert.deepEqual(changedJob(tested, { testing: { everySeconds: 90 } })?.testing?.probes, probes);
  assert.equal(changedJob(tested, { testing: null })?.testing, null);
});

test('addresses are replaced VM by VM, and none are the agent alone', () => {
  const at = [parseAddressProbe('tcp:10.0.0.5:22')];
  const answering = changedJob(JOB, { answers: [{ vmId: WEB, at }] }) ?? assert.fail();
  assert.deepEqual(changedJob(answering, { rpoSeconds: 60 })?.vms[0]?.answersAt, at);
  assert.deepEqual(changedJob(answering, { answers: [{ vmId: WEB, at: [] }] })?.vms, JOB.vms);
});

test('a replica that stands in is named where it keeps what it has', () => {
  const after = changedJob(JOB, { networks: { lan: 'x' } }) ?? assert.fail();
  const [told] = settingChanges(JOB, after, ['web-replica']);
  assert.match(told?.takesEffect ?? '', /web-replica stands in and keeps its own/);
});
