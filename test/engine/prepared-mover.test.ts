/** The mover is told how much a run will bring while nothing else can be done. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../src/domain/bytes.ts';
import { Stage, VDA } from './stage.ts';

/** What the mover is told to expect from now on, and whether the source was frozen before. */
function expectationsOf({ life, world }: Stage) {
  const told: { readonly bytes: number; readonly isFrozen: boolean }[] = [];
  const frozen = () => world.log.filter(({ operation }) => operation.endsWith('.freeze')).length;
  const before = frozen();
  life.ports.mover.prepare = (bytes) => void told.push({ bytes, isFrozen: frozen() > before });
  return told;
}

test('before the freeze of a first point the mover is told what the VM holds', async () => {
  await using stage = await Stage.open();
  const told = expectationsOf(stage);
  await stage.protect();
  await stage.replicate();
  assert.deepEqual(told, [{ bytes: 20 * BLOCK_BYTES, isFrozen: false }]);
});

test('before later runs the mover is told what such runs bring, as soon as that is known', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const told: number[] = [];
  stage.life.ports.mover.prepare = (bytes) => void told.push(bytes);
  for (let run = 0; run < 5; run += 1) {
    await stage.replicate();
    for (let block = 0; block < 3; block += 1) stage.vm.write(VDA, block, `run-${run}`);
  }
  assert.deepEqual(
    told,
    [20, 0, 0, 0, 3].map((blocks) => blocks * BLOCK_BYTES),
  );
});
