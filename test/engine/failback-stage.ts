/** What tests of failback share: a replica that serves and has written, the orders, and what must hold afterwards. */
import assert from 'node:assert/strict';
import { type DiskKey, hostId } from '../../src/domain/ids.ts';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Replica } from '../../src/domain/replica/replica.ts';
import type { Controller } from '../../src/ports/controller.ts';
import type { FailbackOrder } from '../../src/ports/orders.ts';
import type { SimulatedHost } from '../../src/simulator/host.ts';
import {
  type DiskContent,
  differenceBetween,
  readBranch,
  readVmDisk,
} from '../../src/simulator/observation.ts';
import type { SimulatedVm } from '../../src/simulator/vm.ts';
import { options, type Stage, VDA, VDB } from './stage.ts';

export const MANUAL: FailbackOrder = {
  to: { type: 'original' },
  switchover: { type: 'manual' },
  discardSavedState: false,
  applyChanges: false,
  shutdownDeadlineMs: 120_000,
};
export const undoing = (force: boolean) => ({ force, shutdownDeadlineMs: 120_000 });
export const SHUTDOWN = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'power-off' } as const;

export function replicaVm(stage: Stage): SimulatedVm {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  if (found === undefined) throw new Error('the replica VM is not defined');
  return found;
}

export async function done(
  stage: Stage,
  begin: (controller: Controller) => Promise<OperationRecord>,
): Promise<OperationRecord> {
  const ended = await stage.finish(begin);
  assert.equal(ended.state, 'succeeded', ended.error?.message);
  return ended;
}

export const failback = (stage: Stage, order: Partial<FailbackOrder> = {}) =>
  done(stage, (controller) => controller.failback('web-replica', { ...MANUAL, ...order }, options));
export const switchOver = (stage: Stage) =>
  done(stage, (controller) => controller.switchOver('web-replica', SHUTDOWN, options));
export const commit = (stage: Stage) =>
  done(stage, (controller) => controller.commitFailback('web-replica', options));
export const undo = (stage: Stage, force = false) =>
  done(stage, (controller) => controller.undoFailback('web-replica', undoing(force), options));
export const cancel = (stage: Stage) =>
  done(stage, (controller) => controller.cancelFailback('web-replica', options));

/** Two points, then a failover with the source off, and writes of the replica. */
export async function failedOver(stage: Stage, point: 'latest' | number = 'latest'): Promise<void> {
  const { id } = await stage.protect();
  for (let run = 0; run < 3; run += 1) {
    stage.vm.write(VDA, run, `run-${run}`);
    await stage.replicate();
  }
  stage.vm.write(VDA, 7, 'never replicated');
  const points = await stage.life.ports.catalog.points(id);
  const chosen = point === 'latest' ? 'latest' : (points[point]?.id ?? '');
  const failover = await stage.failover(chosen, 'power-off');
  assert.equal(failover.state, 'succeeded', failover.error?.message);
  const vm = replicaVm(stage);
  vm.write(VDA, 10, 'by the replica');
  vm.write(VDB, 3, 'by the replica');
}

/** Production, or whatever took over, has what the replica had when it was shut down. */
export async function assertTookOver(
  stage: Stage,
  production: SimulatedVm = stage.vm,
): Promise<void> {
  for (const { key } of replicaVm(stage).state.disks) {
    const [home, away] = [readVmDisk(production, key), await stateOf(stage, key)];
    assert.equal(differenceBetween(home, away), null, `disk ${key} is what the replica had`);
  }
}

/** What the replica serves from, or did until the switchover: its definition looks elsewhere since. */
export async function stateOf(stage: Stage, key: DiskKey): Promise<DiskContent> {
  const { id, failover } = await stage.replica();
  const branch = failover === null ? null : readBranch(stage.recovery, id, failover.branchId, key);
  return branch ?? readVmDisk(replicaVm(stage), key);
}

export async function assertIncremental(stage: Stage): Promise<void> {
  const replica = await stage.replica();
  assert.equal(replica.phase, 'Ready');
  const run = await stage.replicate();
  assert.equal(run.state, 'succeeded', run.error?.message);
  const newest = (await stage.life.ports.catalog.points(replica.id)).at(-1);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental'],
  );
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

export const facts = ({ phase, failover, failback }: Replica) => [
  phase,
  failover !== null,
  failback !== null,
];

/** A third host that the controller knows. */
export async function addElsewhere(stage: Stage): Promise<SimulatedHost> {
  const elsewhere = stage.world.addHost({ id: hostId('elsewhere') });
  await stage.knowHost(elsewhere.id);
  return elsewhere;
}
