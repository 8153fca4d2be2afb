import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as sample from '../../conformance/catalog-samples.ts';
import { UnderstudyError } from '../error.ts';
import { parseAddressProbe } from '../failover/address-probe.ts';
import type { Json } from '../operation/operation.ts';
import { parseWindow } from '../replication/window.ts';
import { aboutReplica, readAbout } from './about.ts';

const known = { sourceHost: sample.host, job: sample.job, points: [sample.point(1)] };

function written(): Json {
  return JSON.parse(JSON.stringify(aboutReplica(sample.replica, known)));
}

test('what is written is read again', () => {
  const read = readAbout(written());
  const { id: _i, sourceHostId: _s, targetHostId: _t, vms: _v, isPaused: _p, ...rest } = sample.job;
  const { createdAt: _c, ...policy } = rest;
  const { sourceVmId, sourceVmName, targetVmId, createdAt, leftFencedNics } = sample.replica;
  assert.deepEqual(read, {
    sourceHostName: sample.host.name,
    sourceHostAddress: sample.host.address,
    sourceVmId,
    sourceVmName,
    targetVmId,
    createdAt,
    leftFencedNics,
    pinnedPointIds: [],
    answersAt: [],
    job: policy,
  });
});

test('a replica without job or source host is read as one', () => {
  const about = aboutReplica(sample.replica, { sourceHost: null, job: null, points: [] });
  const read = readAbout(about);
  assert.equal(read?.job, null);
  assert.equal(read?.sourceHostName, '');
});

test('where its guest answers is remembered, and what cannot be read of it left out', () => {
  const answersAt = [parseAddressProbe('tcp:10.0.0.5:22'), parseAddressProbe('http:a.b:80/x')];
  const vm = { vmId: sample.replica.sourceVmId, name: 'web', excludedBecause: null, answersAt };
  const about = aboutReplica(sample.replica, { ...known, job: { ...sample.job, vms: [vm] } });
  assert.deepEqual(readAbout(about)?.answersAt, answersAt);
  const odd = { ...(about as object), answersAt: [7, 'udp:1', 'tcp:10.0.0.5:22'] } as Json;
  assert.deepEqual(readAbout(odd)?.answersAt, answersAt.slice(0, 1));
});

test('the windows of its job are remembered, and what cannot be read of them left out', () => {
  const { job, ...about } = written() as { readonly [name: string]: Json };
  const read = (windows: Json) =>
    readAbout({ ...about, job: { ...(job as object), windows } })?.job?.windows;
  const nights = 'mon-fri 22:00-06:00 UTC';
  assert.deepEqual(read([nights, 'never', 7]), [parseWindow(nights)]);
  assert.deepEqual(read(null), []);
});

test('NICs that were left disconnected are remembered, all of them, or none where an older version did not tell', () => {
  const about = written() as { readonly [name: string]: Json };
  assert.equal(readAbout({ ...about, leftFencedNics: null })?.leftFencedNics, null);
  const { leftFencedNics: _, ...older } = about;
  assert.deepEqual(readAbout(older)?.leftFencedNics, []);
});

test('a pinned point is remembered', () => {
  const points = [{ ...sample.point(1), isPinned: true }, sample.point(2)];
  const read = readAbout(aboutReplica(sample.replica, { ...known, points }));
  assert.deepEqual(read?.pinnedPointIds, [points[0]?.id]);
});

test('anything else is not known, or has the parts that can be read', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(readAbout(value as Json), null);
    }),
  );
  const whole = written() as { readonly [key: string]: Json };
  const job = whole.job as { readonly [key: string]: Json };
  const field = fc.constantFrom(...Object.keys(job));
  fc.assert(
    fc.property(field, fc.option(fc.jsonValue(), { nil: undefined }), (name, value) => {
      const changed = JSON.parse(JSON.stringify({ ...whole, job: { ...job, [name]: value } }));
      const read = readAbout(changed);
      assert.ok(read);
      if (read.job === null) return assert.equal(name, 'name');
      assert.equal(typeof read.job.rpoSeconds, 'number');
      assert.ok(read.job.retention.keepLast >= 0);
      assert.equal(typeof read.job.isScheduled, 'boolean');
      for (const to of Object.values(read.job.networkMap)) {
        assert.ok(to === null || typeof to === 'string');
      }
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(whole)), fc.jsonValue(), (name, value) => {
      try {
        readAbout({ ...whole, [name]: value as Json });
      } catch (error) {
        assert.fail(error instanceof UnderstudyError ? error.code : String(error));
      }
    }),
  );
});
