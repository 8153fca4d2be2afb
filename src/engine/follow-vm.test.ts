import assert from 'node:assert/strict';
import { test } from 'node:test';
import { job, replica } from '../conformance/catalog-samples.ts';
import { hostId, jobId, vmId } from '../domain/ids.ts';
import { followVm } from './follow-vm.ts';

const other = vmId('00000000-0000-4000-8000-000000000042');
const mine = { ...job, id: jobId('job-a'), sourceHostId: hostId('kvm-1') };
const protectedVm = { vmId: replica.sourceVmId, name: 'web', excludedBecause: null };
const own = { ...replica, jobId: mine.id, sourceHostId: mine.sourceHostId };

test('a VM that came home changes no job', () => {
  const jobs = [{ job: { ...mine, vms: [protectedVm] }, version: 3 }];
  const place = { hostId: own.sourceHostId, vmId: own.sourceVmId, name: 'web' };
  assert.deepEqual(followVm(jobs, own, place, 'job-b'), { jobId: mine.id, changes: [] });
});

test('alone in its job, it takes the job along to another host', () => {
  const jobs = [{ job: { ...mine, vms: [protectedVm] }, version: 3 }];
  const place = { hostId: hostId('kvm-9'), vmId: other, name: 'web' };
  const { jobId: followed, changes } = followVm(jobs, own, place, 'job-b');
  assert.equal(followed, mine.id);
  const [change] = changes;
  assert.ok(change?.type === 'job-saved' && changes.length === 1);
  assert.deepEqual([change.job.sourceHostId, change.expectedVersion], ['kvm-9', 3]);
  assert.deepEqual(change.job.vms, [{ vmId: other, name: 'web', excludedBecause: null }]);
});

test('among others it gets a job of its own, with a name that is free', () => {
  const companion = { ...protectedVm, vmId: other, name: 'db' };
  const jobs = [
    { job: { ...mine, name: 'nightly', vms: [protectedVm, companion] }, version: 3 },
    { job: { ...mine, id: jobId('job-c'), name: 'nightly-web' }, version: 1 },
  ];
  const place = { hostId: hostId('kvm-9'), vmId: own.sourceVmId, name: 'web' };
  const { jobId: followed, changes } = followVm(jobs, own, place, 'job-b');
  assert.equal(followed, 'job-b');
  const [kept, made] = changes;
  assert.ok(kept?.type === 'job-saved' && made?.type === 'job-saved');
  assert.deepEqual(kept.job.vms, [companion]);
  assert.deepEqual([made.job.name, made.expectedVersion], ['nightly-web-2', null]);
  assert.deepEqual(
    made.job.vms.map(({ vmId: id }) => id),
    [own.sourceVmId],
  );
});

test('a replica without a job stays without one', () => {
  const place = { hostId: hostId('kvm-9'), vmId: other, name: 'web' };
  assert.deepEqual(followVm([], { ...own, jobId: null }, place, 'job-b'), {
    jobId: null,
    changes: [],
  });
});
