import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diskKey, failbackId, hostId, markName, operationId, vmId } from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import type { VmDescription } from '../vm/vm.ts';
import {
  decideSwitchover,
  extendLayers,
  type FailbackRecord,
  homeRefusal,
  planLayers,
  type SwitchoverMode,
  switchoverChanges,
} from './failback.ts';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 0, 1, 12);
const at = (ms: number): Instant => instant(NOON + ms);

function record(switchover: SwitchoverMode, more: Partial<FailbackRecord> = {}): FailbackRecord {
  return {
    id: failbackId('fb-1'),
    home: { hostId: hostId('production'), vmId: null, name: 'web', kind: 'new' },
    layers: [],
    operationId: operationId('op-1'),
    startedAt: at(0),
    switchover,
    appliesChanges: false,
    hasStoppedHome: false,
    syncedMark: null,
    syncedAt: at(0),
    syncedBytes: 1000,
    passes: 1,
    switched: null,
    ...more,
  };
}

const inVain = (failedAt: Instant | null, switchovers = 0) => ({
  failedAt: failedAt === null ? [] : [failedAt],
  switchovers,
});

test('automatic: at once, and after a failure no sooner than a minute later', () => {
  const automatic = record({ type: 'automatic' });
  assert.equal(decideSwitchover(automatic, inVain(null), at(1)), 'switch');
  assert.equal(decideSwitchover(automatic, inVain(at(0)), at(MINUTE - 1)), 'wait');
  assert.equal(decideSwitchover(automatic, inVain(at(0)), at(MINUTE)), 'switch');
});

test('a try that a clock which was ahead has dated hides no later one', () => {
  const failedAt = [at(90 * MINUTE), at(5 * MINUTE)];
  for (const type of ['automatic', 'manual'] as const) {
    const tried = { failedAt, switchovers: 0 };
    assert.equal(decideSwitchover(record({ type }), tried, at(5 * MINUTE + 1)), 'wait');
  }
});

test('what failed three times is not tried again by itself', () => {
  for (const switchover of [
    { type: 'automatic' },
    { type: 'at', at: at(0) },
    { type: 'below', bytes: 10_000 },
  ] as const) {
    const failback = record(switchover, { passes: 2 });
    assert.equal(decideSwitchover(failback, inVain(null, 2), at(MINUTE - 1)), 'switch');
    assert.equal(decideSwitchover(failback, inVain(null, 3), at(MINUTE - 1)), 'wait');
    assert.equal(decideSwitchover(failback, inVain(null, 3), at(10 * MINUTE)), 'catch-up');
  }
});

test('manual: never by itself, but what is left is kept short', () => {
  const manual = record({ type: 'manual' });
  assert.equal(decideSwitchover(manual, inVain(null), at(9 * MINUTE)), 'wait');
  assert.equal(decideSwitchover(manual, inVain(null), at(10 * MINUTE)), 'catch-up');
  assert.equal(
    decideSwitchover(manual, inVain(at(5 * MINUTE)), at(10 * MINUTE)),
    'wait',
    'tried in vain',
  );
});

test('at a time: not before it, and at it', () => {
  const timed = record({ type: 'at', at: at(25 * MINUTE) });
  assert.equal(decideSwitchover(timed, inVain(null), at(2 * MINUTE)), 'wait');
  assert.equal(decideSwitchover(timed, inVain(null), at(12 * MINUTE)), 'catch-up');
  assert.equal(decideSwitchover(timed, inVain(null), at(25 * MINUTE)), 'switch');
});

test('when little is left: the first pass says nothing, then the last one decides', () => {
  const below = (more: Partial<FailbackRecord>) => record({ type: 'below', bytes: 1000 }, more);
  assert.equal(decideSwitchover(below({ syncedBytes: 0 }), inVain(null), at(1)), 'catch-up');
  assert.equal(decideSwitchover(below({ passes: 2 }), inVain(null), at(1)), 'switch');
  const much = below({ passes: 2, syncedBytes: 1001 });
  assert.equal(decideSwitchover(much, inVain(null), at(1)), 'wait');
  assert.equal(decideSwitchover(much, inVain(null), at(MINUTE)), 'catch-up');
});

test('when little was left a minute ago, another pass tells whether it still is', () => {
  const little = record({ type: 'below', bytes: 1000 }, { passes: 2 });
  assert.equal(decideSwitchover(little, inVain(null), at(MINUTE - 1)), 'switch');
  assert.equal(decideSwitchover(little, inVain(null), at(MINUTE)), 'catch-up');
  assert.equal(decideSwitchover(little, inVain(at(5)), at(MINUTE - 1)), 'wait', 'tried in vain');
  assert.equal(decideSwitchover(little, inVain(at(5)), at(MINUTE + 5)), 'catch-up');
  const first = { ...little, passes: 1 };
  assert.equal(
    decideSwitchover(first, inVain(at(5)), at(MINUTE)),
    'wait',
    'its second pass failed',
  );
  assert.equal(decideSwitchover(first, inVain(at(5)), at(MINUTE + 5)), 'catch-up');
});

test('whatever the clocks say, it is decided, and nobody who said manual is switched', () => {
  const mode = fc.constantFrom<SwitchoverMode>(
    { type: 'automatic' },
    { type: 'manual' },
    { type: 'at', at: at(0) },
    { type: 'below', bytes: 10 },
  );
  const moment = fc.integer({ min: -1e10, max: 1e10 }).map(at);
  fc.assert(
    fc.property(mode, moment, fc.option(moment), moment, (switchover, syncedAt, failedAt, now) => {
      const step = decideSwitchover(record(switchover, { syncedAt }), inVain(failedAt), now);
      assert.ok(['switch', 'catch-up', 'wait'].includes(step));
      if (switchover.type === 'manual') assert.notEqual(step, 'switch');
    }),
  );
});

function vm(
  disks: Readonly<Record<string, number>>,
  unsupported: string | null = null,
): VmDescription {
  return {
    id: vmId('00000000-0000-4000-8000-000000000001'),
    name: 'web',
    power: 'off',
    memoryBytes: 1,
    cpuCount: 1,
    disks: Object.entries(disks).map(([key, sizeBytes]) => ({
      key: diskKey(key),
      sizeBytes,
      path: `/pool/${key}`,
      format: 'qcow2',
      tracksChanges: true,
      unsupportedBecause: unsupported,
    })),
    nics: [],
    configuration: { format: 'simulated', text: '' },
    hasSavedState: false,
  };
}

test('layers lie over what production has, and stand alone where it has nothing', () => {
  const mark = markName('us-pt-1');
  const planned = planLayers(vm({ vda: 10, vdb: 20 }), vm({ vda: 8 }), mark);
  assert.deepEqual(planned, [
    { key: 'vda', sizeBytes: 10, base: 'disk', since: mark, grownFromBytes: 8 },
    { key: 'vdb', sizeBytes: 20, base: 'none', since: null },
  ]);
  assert.deepEqual(
    planLayers(vm({ vda: 10 }), null, mark).map(({ base }) => base),
    ['none'],
  );
});

test('a VM that would be cut off, or cannot be written to, does not take the work back', () => {
  const replica = vm({ vda: 10 });
  assert.equal(homeRefusal(vm({ vda: 10, other: 99 }), replica), null);
  assert.equal(homeRefusal(vm({ vda: 9 }), replica), null);
  assert.match(homeRefusal(vm({ vda: 11 }), replica) ?? '', /vda has 11 bytes, more than the 10/);
  assert.match(homeRefusal(vm({ vda: 10 }, 'it is a CD'), replica) ?? '', /it is a CD/);
});

test('layers follow the disks of the replica: added and grown, never smaller, never fewer', () => {
  const [vda, vdb, vdc] = [diskKey('vda'), diskKey('vdb'), diskKey('vdc')];
  const since = markName('us-pt-1');
  const layers = [
    { key: vda, sizeBytes: 10, base: 'disk', since },
    { key: vdb, sizeBytes: 10, base: 'disk', since },
  ] as const;
  const disks = [
    { key: vda, sizeBytes: 20 },
    { key: vdc, sizeBytes: 5 },
  ];
  const extended = extendLayers(layers, disks);
  assert.deepEqual(extended, [
    { key: vda, sizeBytes: 20, base: 'disk', since, grownFromBytes: 10 },
    { key: vdb, sizeBytes: 10, base: 'disk', since },
    { key: vdc, sizeBytes: 5, base: 'none', since: null },
  ]);
  assert.deepEqual(extendLayers(extended, [{ key: vda, sizeBytes: 15 }]), extended);
  assert.deepEqual(extendLayers(layers, []), layers);
  const [again] = extendLayers(extended, [{ key: vda, sizeBytes: 30 }]);
  assert.deepEqual([again?.sizeBytes, again?.grownFromBytes], [30, 10]);
});

test('disks come and grow with their layers, and are told in any case; the rest on request', () => {
  const own = vm({ vda: 0, gone: 0 });
  const replica = { ...vm({ vda: 20, vdb: 5 }), cpuCount: 2 };
  const layers = [
    { key: diskKey('vda'), sizeBytes: 20, base: 'disk', since: null, grownFromBytes: 10 },
    { key: diskKey('vdb'), sizeBytes: 5, base: 'none', since: null },
  ] as const;
  const disks = [
    { type: 'disk-grown', key: 'vda', fromBytes: 10, toBytes: 20 },
    { type: 'disk-added', key: 'vdb', sizeBytes: 5 },
  ];
  assert.deepEqual(switchoverChanges(layers, own, replica, false), disks);
  assert.deepEqual(switchoverChanges(layers, own, replica, true), [
    { type: 'cpus', from: 1, to: 2 },
    { type: 'disk-removed', key: 'gone' },
    ...disks,
  ]);
});
