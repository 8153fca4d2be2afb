import assert from 'node:assert/strict';
import test from 'node:test';
import { findingsLeft, resultLines } from './results.ts';

const CHANGED = {
  kind: 'layer-changed',
  object: 'layers/l-1/vda.qcow2',
  message: 'it was written to after it was sealed.',
  repair: 'rehash-layer',
  blocksWrites: true,
  layerId: 'l-1',
  pointIds: ['pt-a', 'pt-b'],
  branchId: null,
};
const LINE =
  'layers/l-1/vda.qcow2: it was written to after it was sealed; in doubt: pt-a, pt-b; repair: rehash-layer';

test('a rescan tells each difference in a line, and what became of it', () => {
  const rescan = (findings: object[], left: object[], isRepaired: boolean) =>
    resultLines({ kind: 'rescan', result: { findings, left, isRepaired } as never });
  assert.deepEqual(rescan([], [], false), ['nothing differs']);
  assert.deepEqual(rescan([CHANGED], [CHANGED], false), [`found: ${LINE}`]);
  assert.deepEqual(rescan([CHANGED], [], true), [`found: ${LINE}`, 'all of it is repaired']);
  assert.deepEqual(rescan([CHANGED], [CHANGED], true), [`found: ${LINE}`, `left: ${LINE}`]);
});

test('only what a rescan leaves counts as left', () => {
  const result = { findings: [CHANGED], left: [CHANGED], isRepaired: true };
  assert.deepEqual(findingsLeft({ kind: 'rescan', result }), [CHANGED]);
  assert.deepEqual(findingsLeft({ kind: 'rescan', result: null }), []);
  assert.deepEqual(findingsLeft({ kind: 'sweep', result: { left: 2 } }), []);
});

test('a verification says of each point whether it is sound, and what was read', () => {
  const disk = { key: 'vda', checkedBytes: 65_536, wrongBlockCount: 0, wrongBlocks: [] };
  const points = [
    { pointId: 'pt-a', disks: [disk], isSound: true },
    { pointId: 'pt-b', disks: [{ ...disk, wrongBlockCount: 3 }], isSound: false },
  ];
  assert.deepEqual(resultLines({ kind: 'verify', result: { points, isSound: false } }), [
    'pt-a: sound (vda 64.0 KiB read, 0 blocks wrong)',
    'pt-b: NOT SOUND (vda 64.0 KiB read, 3 blocks wrong)',
  ]);
});

test('figures are shown in their unit, instants as times', () => {
  const result = {
    branchId: 'br-a',
    keepUntil: Date.UTC(2026, 2, 1, 12),
    sentBytes: 1024,
    runningAfterMs: 1900,
    isConnected: true,
    disks: [{ key: 'vda', fileBytes: 1024 }],
    reason: null,
  };
  assert.deepEqual(resultLines({ kind: 'failover', result }), [
    'branch: br-a',
    'keep until: 2026-03-01 12:00:00Z',
    'sent: 1.00 KiB',
    'running after: 1.9 s',
    'connected: yes',
    'disks: key vda, file 1.00 KiB',
    'reason: –',
  ]);
});
