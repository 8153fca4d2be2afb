/** Takes failbacks that are ready to switch to their switchover, as each was asked for. */
import { asUnderstudyError } from '../domain/error.ts';
import {
  decideSwitchover,
  type FailbackRecord,
  type TriedInVain,
} from '../domain/failover/failback.ts';
import { failbackId, type ReplicaId } from '../domain/ids.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startCatchUp, startSwitchOver } from './control/failbacks.ts';
import { optionalTextIn } from './input.ts';

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
  const tried = await triedInVain(ports, replica.id, failback);
  const step = decideSwitchover(failback, tried, ports.clock.now());
  if (step === 'wait') return;
  const begin = step === 'switch' ? startSwitchOver : startCatchUp;
  try {
    await begin(ports, replica, { ...options, seed: null });
  } catch (error) {
    // Somebody else was quicker.
    if (asUnderstudyError(error).kind !== 'conflict') throw error;
  }
}

/** What fails is not tried again at once, nor for ever. Clocks may jump: which failback a try was of is told by its id. */
async function triedInVain(
  { durable }: ControllerPorts,
  subject: ReplicaId,
  failback: FailbackRecord,
): Promise<TriedInVain> {
  const failed = async (kind: 'switch-over' | 'catch-up-failback') => {
    const tried = await durable.operations({ subject, kind, limit: TRIES_REMEMBERED });
    return tried.filter(
      ({ state, input }) =>
        state !== 'succeeded' && optionalTextIn(input, 'failbackId', failbackId) === failback.id,
    );
  };
  const switchovers = await failed('switch-over');
  const all = [...switchovers, ...(await failed('catch-up-failback'))];
  const failedAt = all.map(({ endedAt, createdAt }) => endedAt ?? createdAt);
  return { failedAt, switchovers: switchovers.length };
}
