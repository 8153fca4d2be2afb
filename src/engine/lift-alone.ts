/** Gives a source back what a fence cut it off from, where it meets no other replica of the VM. */
import { named } from '../domain/failover/connection.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { mayServe } from '../domain/vm/vm.ts';
import type { StepAttempt } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { lookAtSiblings, requireNoSibling } from './siblings.ts';
import { isArriving, type MovingPorts, requireStill, siblingsMoving } from './taking-place.ts';

/**
 * Throws `sibling-moving` and `sibling-serves`. Answers with one that may be met all the same, and is told: it cannot be
 * asked, or it was asked for in this very moment and saw a source that did not serve yet. Nobody waits for another one's failover
 * here, nor the other way round: either may hang.
 */
export async function liftAlone(
  ports: EnginePorts & MovingPorts,
  replica: Replica,
  attempt: StepAttempt,
  lift: () => Promise<void>,
): Promise<string | null> {
  requireStill(await siblingsArriving(ports, replica));
  const silent = await requireNoSibling(ports, replica, replica.sourceVmName, attempt);
  await lift();
  // Whoever comes from now on sees that the source serves.
  const [late] = await siblingsArriving(ports, replica);
  return late === undefined ? (silent ?? metAmong(ports, replica, attempt)) : named(late.sibling);
}

/** Where a person accepts that two serve: answers with the other replica that the source meets, or may meet, which is told. */
export async function liftBeside(
  ports: EnginePorts & MovingPorts,
  replica: Replica,
  attempt: StepAttempt,
  lift: () => Promise<void>,
): Promise<string | null> {
  await lift();
  const [arriving] = await siblingsArriving(ports, replica);
  return arriving === undefined ? metAmong(ports, replica, attempt) : named(arriving.sibling);
}

async function siblingsArriving(
  ports: EnginePorts & MovingPorts,
  replica: Replica,
): ReturnType<typeof siblingsMoving> {
  return (await siblingsMoving(ports, replica)).filter(isArriving);
}

async function metAmong(
  ports: EnginePorts,
  replica: Replica,
  attempt: StepAttempt,
): Promise<string | null> {
  const beside = (await lookAtSiblings(ports, replica, attempt)).find(mayServe);
  return beside === undefined ? null : named(beside);
}
