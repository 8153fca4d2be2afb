import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diskKey, markName } from '../ids.ts';
import { type FoundExtents, planTransfer, type SourceDiskAtFreeze } from './transfer.ts';

const key = diskKey('vda');
const m1 = markName('us-m1');
const m2 = markName('us-m2');
const since = (mark: typeof m1): FoundExtents => ({ type: 'changed', since: mark });
const allocated: FoundExtents = { type: 'allocated', markLostBecause: null };

function disk(found: FoundExtents, sizeBytes = 100, tracksChanges = true): SourceDiskAtFreeze {
  return { key, sizeBytes, tracksChanges, found };
}

/** The rows of the transfer table: source, newest point's disk, any point → kind, base. */
const ROWS = [
  ['no restore point', disk(allocated), null, false, 'full', 'none'],
  ['disk added', disk(allocated), null, true, 'full', 'none'],
  [
    'valid mark of the newest point',
    disk(since(m1)),
    { sizeBytes: 100, mark: m1 },
    true,
    'incremental',
    'parent',
  ],
  [
    'mark of another point',
    disk(since(m2)),
    { sizeBytes: 100, mark: m1 },
    true,
    'resync',
    'parent',
  ],
  [
    'mark asked of a point without one',
    disk(since(m2)),
    { sizeBytes: 100, mark: null },
    true,
    'resync',
    'parent',
  ],
  [
    'mark lost',
    disk({ type: 'allocated', markLostBecause: 'QEMU was killed' }),
    { sizeBytes: 100, mark: m1 },
    true,
    'resync',
    'parent',
  ],
  [
    'no change tracking',
    disk(allocated, 100, false),
    { sizeBytes: 100, mark: null },
    true,
    'resync',
    'parent',
  ],
  [
    'grown, mark valid',
    disk(since(m1), 200),
    { sizeBytes: 100, mark: m1 },
    true,
    'incremental',
    'parent',
  ],
  [
    'grown, mark lost',
    disk(allocated, 200),
    { sizeBytes: 100, mark: m1 },
    true,
    'resync',
    'parent',
  ],
  ['shrunk, mark valid', disk(since(m1), 50), { sizeBytes: 100, mark: m1 }, true, 'full', 'none'],
] as const;

for (const [situation, source, newest, hasAnyPoint, kind, base] of ROWS) {
  test(`${situation}: ${kind}`, () => {
    const plan = planTransfer(source, newest, hasAnyPoint);
    assert.equal(plan.kind, kind);
    assert.equal(plan.base, base);
    assert.notEqual(plan.because, '');
  });
}

test('a seeded disk is compared with its seed, in the first run only', () => {
  const first = planTransfer(disk(allocated), null, false, 'VM old');
  assert.deepEqual(first, {
    key,
    kind: 'resync',
    because: 'it was seeded from VM old',
    base: 'seed',
  });
  const known = { sizeBytes: 100, mark: m1 };
  assert.equal(planTransfer(disk(since(m1)), known, true, 'VM old').kind, 'incremental');
});

test('a lost mark is recorded with the reason that the host gave', () => {
  const lost = disk({ type: 'allocated', markLostBecause: 'QEMU was killed' });
  assert.equal(planTransfer(lost, { sizeBytes: 100, mark: m1 }, true).because, 'QEMU was killed');
});

test('incremental only when the mark is the one that the newest point names (invariant 6)', () => {
  const mark = fc.constantFrom(m1, m2, null);
  const found = fc.oneof(fc.constantFrom(since(m1), since(m2)), fc.constant(allocated));
  fc.assert(
    fc.property(
      found,
      fc.nat(300),
      fc.nat(300),
      mark,
      fc.boolean(),
      (extents, now, then, named, tracks) => {
        const plan = planTransfer(
          disk(extents, now, tracks),
          { sizeBytes: then, mark: named },
          true,
        );
        if (plan.kind === 'incremental') {
          assert.ok(extents.type === 'changed' && extents.since === named && now >= then);
        }
        if (now < then) assert.equal(plan.base, 'none');
        assert.equal(plan.base === 'none', plan.kind === 'full');
      },
    ),
  );
});
