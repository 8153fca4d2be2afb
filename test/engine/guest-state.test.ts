/** Firmware variables and TPM contents go where the disks go: each point has its own, and a failback brings home what the replica had. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SimulatedVm } from '../../src/simulator/vm.ts';
import { commit, failback, replicaVm, switchOver, undo } from './failback-stage.ts';
import { Stage } from './stage.ts';

function setState({ state }: SimulatedVm, text: string): void {
  state.sidecars = new Map([
    ['nvram', `variables ${text}`],
    ['tpm', `secrets ${text}`],
  ]);
}

function requireState({ state }: SimulatedVm, text: string): void {
  assert.deepEqual([...state.sidecars.values()], [`variables ${text}`, `secrets ${text}`]);
}

test('each point, the way home, and the point of what the replica had', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  for (const text of ['old', 'new']) {
    setState(stage.vm, text);
    const run = await stage.replicate();
    assert.equal(run.state, 'succeeded', run.error?.message);
  }
  const [older] = await stage.life.ports.catalog.points(id);
  await stage.failover(older?.id, 'power-off');
  requireState(replicaVm(stage), 'old');
  setState(replicaVm(stage), 'of a trial');
  await stage.undo();
  await stage.failover('latest', 'power-off');
  requireState(replicaVm(stage), 'new');
  setState(replicaVm(stage), 'of the replica');
  await failback(stage);
  await switchOver(stage);
  requireState(stage.vm, 'of the replica');
  await undo(stage);
  requireState(stage.vm, 'new');
  await failback(stage);
  await switchOver(stage);
  await commit(stage);
  setState(stage.vm, 'of production');
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  requireState(replicaVm(stage), 'of the replica');
});
