import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failbackId, pointId, vmId } from '../ids.ts';
import { instant } from '../instant.ts';
import type { FailbackAbout } from './branch-about.ts';
import { type FailbackEvidence, type FoundLayers, failbackStand } from './failback-evidence.ts';

const ID = failbackId('fb-1');
const SWITCHED = { pointId: pointId('pt-9'), takenAt: instant(5), changes: [] };
const TOLD: FailbackAbout = {
  id: ID,
  homeHostName: 'production',
  homeHostAddress: 'sim:production',
  home: { vmId: vmId('0b5a6cfe-0000-4000-8000-00000000000a'), name: 'web', kind: 'original' },
  layers: [],
  startedAt: instant(1),
  appliesChanges: false,
  hasStoppedHome: true,
  switched: null,
};
const STATES = ['laid', 'attached', 'committing', 'committed', 'dropped', 'unreadable'] as const;
const POWERS = ['running', 'paused', 'off', 'unknown', 'absent'] as const;

function standOf(
  state: FoundLayers['state'] | null,
  { hasSwitched, ...more }: Partial<FailbackEvidence> & { readonly hasSwitched: boolean },
): string {
  const told = { ...TOLD, switched: hasSwitched ? SWITCHED : null };
  const layers = state === null ? null : { failbackId: ID, vmId: null, state };
  const evidence = { told, layers, homePower: 'off', newestPointId: null, ...more } as const;
  const { type, ...rest } = failbackStand(evidence);
  return [type, ...Object.values(rest).filter((value) => typeof value === 'boolean')].join(' ');
}

test('the layers decide, whatever else was told or runs', () => {
  for (const homePower of POWERS) {
    for (const hasSwitched of [false, true]) {
      const of = { hasSwitched, homePower };
      assert.equal(standOf(null, of), 'none false');
      assert.equal(standOf('dropped', of), 'none true');
      assert.equal(standOf('unreadable', of), 'unclear');
      const isStill = homePower === 'off' || homePower === 'absent';
      assert.equal(standOf('laid', of), isStill ? 'ready-to-switch' : 'unclear');
      assert.equal(standOf('attached', of), hasSwitched ? 'switched false' : 'unclear');
      assert.equal(standOf('committing', of), hasSwitched ? 'switched true' : 'unclear');
    }
  }
});

test('a commit is over once the replica has points beyond the one it made', () => {
  const { pointId: made } = SWITCHED;
  const of = { hasSwitched: true };
  assert.equal(standOf('committed', { ...of, newestPointId: made }), 'switched true');
  assert.equal(standOf('committed', { ...of, newestPointId: pointId('pt-10') }), 'over');
  assert.equal(standOf('committed', { ...of, hasSwitched: false }), 'unclear');
});

test('whatever is found, what is not clear says why', () => {
  for (const state of [null, ...STATES]) {
    for (const homePower of POWERS) {
      const layers = state === null ? null : { failbackId: ID, vmId: null, state };
      const stand = failbackStand({ told: TOLD, layers, homePower, newestPointId: null });
      if (stand.type === 'unclear') assert.match(stand.because, /fb-1|web/);
    }
  }
});
