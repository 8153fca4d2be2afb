/** What the stories of the crash matrix begin with, and what several of them do. */
import type { ErrorCode } from '../../../src/domain/error-catalog.ts';
import type { OperationRecord } from '../../../src/domain/operation/operation.ts';
import type { FailbackOrder } from '../../../src/ports/orders.ts';
import { options, type Stage, VDA } from '../stage.ts';

export type Story = {
  readonly prepare: (stage: Stage) => Promise<unknown>;
  readonly act: (stage: Stage) => Promise<OperationRecord>;
  /** Where it is refused also when nothing is the matter. */
  readonly refusedWith?: ErrorCode;
  /** Of its moments every nth is enough, also where all are tried: another story goes through most of them. */
  readonly stride?: number;
  /** What comes back once it is over, before anything else is asked for. */
  readonly heal?: (stage: Stage) => void;
  /** What is asked for once all is well again; without it the same again. */
  readonly afterwards?: (stage: Stage) => Promise<OperationRecord>;
};

export async function protectedTwice(stage: Stage): Promise<void> {
  await stage.protect({ retention: { keepLast: 2, tiers: [] } });
  for (const value of ['one', 'two']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
  stage.vm.write(VDA, 1, 'three');
}

export async function failedOver(stage: Stage): Promise<void> {
  await protectedTwice(stage);
  await stage.failover('latest', 'power-off');
}

export function plannedFailover(stage: Stage): Promise<OperationRecord> {
  const order = {
    reason: 'maintenance',
    passesMax: 2,
    lastDeltaMsMax: 5000,
    shutdownDeadlineMs: 60_000,
    onMissedDeadline: 'give-up',
  } as const;
  return stage.finish((controller) => controller.plannedFailover('web-replica', order, options));
}

export const HOME: FailbackOrder = {
  to: { type: 'original' },
  switchover: { type: 'manual' },
  discardSavedState: false,
  applyChanges: false,
  shutdownDeadlineMs: 120_000,
};

export const NEW_HOME: FailbackOrder = {
  ...HOME,
  to: { type: 'new', host: null, name: 'web-anew' },
};

export function failback(stage: Stage, order: FailbackOrder = HOME): Promise<OperationRecord> {
  return stage.finish((controller) => controller.failback('web-replica', order, options));
}

export async function readyToSwitch(stage: Stage): Promise<void> {
  await failedOver(stage);
  await failback(stage);
}

export function switchOver(stage: Stage): Promise<OperationRecord> {
  const order = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'give-up' } as const;
  return stage.finish((controller) => controller.switchOver('web-replica', order, options));
}

export function commit(stage: Stage): Promise<OperationRecord> {
  return stage.finish((controller) => controller.commitFailback('web-replica', options));
}

export function undoFailback(stage: Stage): Promise<OperationRecord> {
  const order = { force: false, shutdownDeadlineMs: 120_000 };
  return stage.finish((controller) => controller.undoFailback('web-replica', order, options));
}

export async function failedBack(stage: Stage): Promise<void> {
  await readyToSwitch(stage);
  await switchOver(stage);
}
