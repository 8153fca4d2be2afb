/** Takes failbacks that are ready to switch to their switchover, as each was asked for. */
import { asUnderstudyError } from '../domain/error.ts';
import { decideSwitchover, type TriedInVain } from '../domain/failover/failback.ts';
import { instant } from '../domain/instant.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startCatchUp, startSwitchOver } from './control/failbacks.ts';

const TRIES_REMEMBERED = 10;

/** `open`: what of this replica has not ended. */
export async function driveSwitchover(
  ports: ControllerPorts,
  replica: Replica,
  open: readonly OperationRecord[],
  options: CallOptions,
): Promise<void> {
  const { failback, phase } = replica;
  if (phase !== 'ReadyToSwitch' || failback === null || open.length > 0) return;
  const step = decideSwitchover(failback, await triedInVain(ports, replica), ports.clock.now());
  if (step === 'wait') return;
  const begin = step === 'switch' ? startSwitchOver : startCatchUp;
  try {
    await begin(ports, replica, { ...options, seed: null });
  } catch (error) {
    // Somebody else was quicker.
    if (asUnderstudyError(error).kind !== 'conflict') throw error;
  }
}

/** What fails is not tried again at once, nor for ever. */
async function triedInVain(
  { durable }: ControllerPorts,
  { id, failback }: Replica,
): Promise<TriedInVain> {
  const failed = async (kind: 'switch-over' | 'catch-up-failback') => {
    const tried = await durable.operations({ subject: id, kind, limit: TRIES_REMEMBERED });
    const since = failback?.startedAt ?? 0;
    return tried.filter(({ state, createdAt }) => state !== 'succeeded' && createdAt >= since);
  };
  const switchovers = await failed('switch-over');
  const ended = [...switchovers, ...(await failed('catch-up-failback'))].map(
    ({ endedAt, createdAt }) => endedAt ?? createdAt,
  );
  return {
    failedAt: ended.length === 0 ? null : instant(Math.max(...ended)),
    switchovers: switchovers.length,
  };
}
