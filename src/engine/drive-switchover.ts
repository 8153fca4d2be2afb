/** Takes failbacks that are ready to switch to their switchover, as each was asked for. */
import { asUnderstudyError } from '../domain/error.ts';
import { decideSwitchover } from '../domain/failover/failback.ts';
import { instant } from '../domain/instant.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startCatchUp, startSwitchOver } from './control/failbacks.ts';

const TRIES_REMEMBERED = 1;

/** `open`: what of this replica has not ended. */
export async function driveSwitchover(
  ports: ControllerPorts,
  replica: Replica,
  open: readonly OperationRecord[],
  options: CallOptions,
): Promise<void> {
  const { failback, phase } = replica;
  if (phase !== 'ReadyToSwitch' || failback === null || open.length > 0) return;
  const step = decideSwitchover(failback, await failedAt(ports, replica), ports.clock.now());
  if (step === 'wait') return;
  const begin = step === 'switch' ? startSwitchOver : startCatchUp;
  try {
    await begin(ports, replica, { ...options, seed: null });
  } catch (error) {
    // Somebody else was quicker.
    if (asUnderstudyError(error).kind !== 'conflict') throw error;
  }
}

/** When the last pass or the last switchover came to nothing: what fails is not tried again at once. */
async function failedAt({ durable }: ControllerPorts, { id, failback }: Replica) {
  const kinds = ['switch-over', 'catch-up-failback'] as const;
  const last = await Promise.all(
    kinds.map((kind) => durable.operations({ subject: id, kind, limit: TRIES_REMEMBERED })),
  );
  const ended = last
    .flat()
    .filter(({ state }) => state !== 'succeeded')
    .filter(({ createdAt }) => createdAt >= (failback?.startedAt ?? 0))
    .map(({ endedAt, createdAt }) => endedAt ?? createdAt);
  return ended.length === 0 ? null : instant(Math.max(...ended));
}
