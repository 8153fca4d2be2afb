/** Firmware variables and TPM contents go where the disks go: each point has its own, and a failback brings home what the replica had. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Controller } from '../../src/ports/controller.ts';
import type { SimulatedVm } from '../../src/simulator/vm.ts';
import { options, Stage } from './stage.ts';

const HOME = {
  to: { type: 'original' },
  switchover: { type: 'manual' },
  discardSavedState: false,
  applyChanges: false,
} as const;
const SHUTDOWN = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'power-off' } as const;

function setState({ state }: SimulatedVm, text: string): void {
  state.sidecars = new Map([
    ['nvram', `variables ${text}`],
    ['tpm', `secrets ${text}`],
  ]);
}

function requireState({ state }: SimulatedVm, text: string): void {
  assert.deepEqual([...state.sidecars.values()], [`variables ${text}`, `secrets ${text}`]);
}

function replicaOf(stage: Stage): SimulatedVm {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  assert.ok(found);
  return found;
}

test('each point, the way home, and the point of what the replica had', async () => {
  await using stage = await Stage.open();
  const done = async (begin: (controller: Controller) => Promise<OperationRecord>) => {
    const ended = await stage.finish(begin);
    assert.equal(ended.state, 'succeeded', ended.error?.message);
  };
  const { id } = await stage.protect();
  for (const text of ['old', 'new']) {
    setState(stage.vm, text);
    const run = await stage.replicate();
    assert.equal(run.state, 'succeeded', run.error?.message);
  }
  const [older] = await stage.life.ports.catalog.points(id);
  await stage.failover(older?.id, 'power-off');
  requireState(replicaOf(stage), 'old');
  setState(replicaOf(stage), 'of a trial');
  await stage.undo();
  await stage.failover('latest', 'power-off');
  requireState(replicaOf(stage), 'new');
  setState(replicaOf(stage), 'of the replica');
  await done((controller) => controller.failback('web-replica', HOME, options));
  await done((controller) => controller.switchOver('web-replica', SHUTDOWN, options));
  requireState(stage.vm, 'of the replica');
  await done((controller) => controller.undoFailback('web-replica', false, options));
  requireState(stage.vm, 'new');
  await done((controller) => controller.failback('web-replica', HOME, options));
  await done((controller) => controller.switchOver('web-replica', SHUTDOWN, options));
  await done((controller) => controller.commitFailback('web-replica', options));
  setState(stage.vm, 'of production');
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  requireState(replicaOf(stage), 'of the replica');
});
