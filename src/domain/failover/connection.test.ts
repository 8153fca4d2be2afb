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
