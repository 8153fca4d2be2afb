import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSeedOfVm, parseSeeds } from './seeds.ts';

test('a seed is a file of a disk, a VM or a replica', () => {
  assert.deepEqual(parseSeedOfVm('web-01=vda:/srv/seed/web=01,old:x.qcow2'), {
    vm: 'web-01',
    from: { type: 'files', files: [{ disk: 'vda', path: '/srv/seed/web=01,old:x.qcow2' }] },
  });
  assert.deepEqual(parseSeedOfVm('web-01=vm:a:b=c').from, { type: 'vm', vm: 'a:b=c' });
  assert.deepEqual(parseSeeds(['replica:web-00-replica']), {
    type: 'replica',
    replica: 'web-00-replica',
  });
  assert.deepEqual(parseSeeds(['vda:/a', 'vdb:/b']), {
    type: 'files',
    files: [
      { disk: 'vda', path: '/a' },
      { disk: 'vdb', path: '/b' },
    ],
  });
});

test('what is no seed is refused with the forms there are', () => {
  for (const wrong of ['web-01', '=vm:x', 'web-01=', 'web-01=/srv/x.qcow2', 'web-01=vda:x.qcow2']) {
    assert.throws(() => parseSeedOfVm(wrong), /vda:\/srv|whole path/);
  }
  for (const words of [[], ['vm:a', 'vda:/b'], ['vm:a', 'vm:b'], ['vda']]) {
    assert.throws(() => parseSeeds(words));
  }
});
