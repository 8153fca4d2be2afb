import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SourceFence } from '../replica/replica.ts';
import {
  decideConnection,
  fenceRefusal,
  neededFence,
  type SourceAtFailover,
} from './connection.ts';

const POWERS = ['running', 'paused', 'off', 'unknown', 'absent'] as const;
const FENCES: readonly SourceFence[] = ['none', 'nics', 'shutdown', 'power-off'];

test('two connected machines of one identity need a fence, a silent source, or an accepted duplicate (invariant 5)', () => {
  for (const power of POWERS) {
    for (const isConnected of [true, false]) {
      for (const fence of FENCES) {
        for (const accepts of [true, false]) {
          const source: SourceAtFailover = { power, isConnected };
          const decision = decideConnection(source, fence, accepts);
          const isSourceServing = (power === 'running' || power === 'paused') && isConnected;
          if (isSourceServing && fence === 'none' && !accepts)
            assert.equal(decision.connect, false);
          else assert.equal(decision.connect, true);
          const mayMeet = fence === 'none' && (power === 'unknown' || (isSourceServing && accepts));
          assert.equal(decision.isUnfenced, mayMeet);
          assert.notEqual(decision.because, '');
        }
      }
    }
  }
});

test('a fence is refused exactly where the source cannot be asked, and needed only where it changes something', () => {
  for (const power of POWERS) {
    for (const isConnected of [true, false]) {
      for (const fence of FENCES) {
        const source: SourceAtFailover = { power, isConnected };
        const isRefused = fenceRefusal(source, fence) !== null;
        assert.equal(isRefused, power === 'unknown' && fence !== 'none');
        if (isRefused) continue;
        const needed = neededFence(source, fence);
        const isDown = power === 'absent' || (fence !== 'nics' && power === 'off');
        const isQuiet = isDown || (fence === 'nics' && !isConnected);
        assert.equal(needed, isQuiet ? 'none' : fence);
      }
    }
  }
});

test('another replica of the VM that serves keeps this one in the dark, whatever became of the source', () => {
  const sibling = (power: (typeof POWERS)[number], isConnected = true) => ({
    name: 'web-near',
    replicaName: 'web-near',
    power,
    isConnected,
  });
  for (const power of POWERS) {
    for (const fence of FENCES) {
      const source: SourceAtFailover = { power, isConnected: true };
      const alone = decideConnection(source, fence, false);
      const beside = (...siblings: ReturnType<typeof sibling>[]) =>
        decideConnection(source, fence, false, siblings);
      assert.equal(beside(sibling('running')).connect, false);
      assert.deepEqual(beside(sibling('running', false), sibling('off'), sibling('absent')), alone);
      const unsure = beside(sibling('unknown', false));
      assert.equal(unsure.connect, alone.connect, 'an outage is not prolonged');
      assert.equal(unsure.isUnfenced, alone.connect);
      const accepted = decideConnection(source, fence, true, [sibling('paused')]);
      assert.deepEqual([accepted.connect, accepted.isUnfenced], [true, true]);
    }
  }
});
