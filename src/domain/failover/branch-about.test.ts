import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as sample from '../../conformance/catalog-samples.ts';
import { diskKey, failbackId, hostId, markName, pointId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import type { Json } from '../operation/operation.ts';
import type { FailoverRecord } from '../replica/replica.ts';
import { aboutBranch, readBranchAbout } from './branch-about.ts';

const FAILOVER: FailoverRecord = {
  ...(sample.replica.failover ?? assert.fail('the sample has failed over')),
  fence: 'nics',
  fencedNics: ['52:54:00:00:00:01'],
  isSourceReleased: true,
};
const RECORD = {
  id: failbackId('fb-7'),
  home: {
    hostId: hostId('ho-7'),
    vmId: vmId('0b5a6cfe-0000-4000-8000-00000000000a'),
    name: 'web',
    kind: 'copy',
  },
  layers: [
    { key: diskKey('vda'), sizeBytes: 65_536, base: 'disk', since: markName('us-pt-1') },
    { key: diskKey('vdb'), sizeBytes: 0, base: 'none', since: null },
  ],
  startedAt: instant(7),
  appliesChanges: true,
  hasStoppedHome: true,
} as const;
const SWITCHED = {
  pointId: pointId('pt-9'),
  takenAt: instant(8),
  changes: [{ type: 'cpus', from: 1, to: 2 }],
} as const;
const HOST = { name: 'production', address: 'qemu:///system' };

/** As a file gives it back. */
const written = (about: Json): Json => JSON.parse(JSON.stringify(about));

test('what is told is read again; the host by what outlives a catalogue', () => {
  for (const switched of [null, SWITCHED]) {
    const about = aboutBranch(FAILOVER, { record: RECORD, homeHost: HOST, switched });
    const { hostId: _, ...home } = RECORD.home;
    const { fence, fencedNics, reason, isDuplicateAccepted, isSourceReleased, startedAt } =
      FAILOVER;
    assert.deepEqual(readBranchAbout(written(about)), {
      failover: { fence, fencedNics, reason, isDuplicateAccepted, isSourceReleased, startedAt },
      failback: {
        ...RECORD,
        home,
        homeHostName: HOST.name,
        homeHostAddress: HOST.address,
        switched,
      },
    });
  }
});

test('no failback, said for certain, is not the same as nothing said', () => {
  assert.equal(readBranchAbout(written(aboutBranch(FAILOVER, null)))?.failback, null);
  const all = aboutBranch({ ...FAILOVER, fencedNics: null }, null);
  assert.equal(readBranchAbout(written(all))?.failover.fencedNics, null);
  assert.equal(readBranchAbout(null), null);
});

test('whatever somebody wrote there is no error, and a failback in it is not forgotten', () => {
  const odd = fc.jsonValue() as fc.Arbitrary<Json>;
  fc.assert(
    fc.property(odd, odd, odd, (failover, failback, whole) => {
      readBranchAbout(whole);
      const read = readBranchAbout({ failover: { fence: failover, x: 1 }, failback });
      assert.ok(read !== null);
      assert.equal(read.failback === null, failback === null);
    }),
  );
});
