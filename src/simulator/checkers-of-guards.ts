/** What start guards promise: the source of a serving replica is held at its own host, and nobody else. */
import { hasEnded } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogueView, Checker } from './checkers.ts';
import type { SimulatedHost } from './host.ts';
import type { World } from './world.ts';

/** 5: with nothing under way and every host answering, whoever was asked to hold a source has heard what to do. */
export const guardsHoldSources: Checker = (world, view) =>
  view.replicas.flatMap((replica) => {
    const host = guardedHost(world, view, replica);
    if (host === null || isBusy(view, replica)) return [];
    const { sourceVmId, sourceVmName, id, name, phase } = replica;
    const isHeld = [...host.held.values()].some(
      ({ vmId, replicaId }) => vmId === sourceVmId && replicaId === id,
    );
    const what = `${sourceVmName} on ${host.id}`;
    if (isHeld && (phase === 'Ready' || phase === 'Pending')) {
      return [`${what} is held back, and its replica ${name} is ${phase}`];
    }
    if (isHeld || !mustBeHeld(view, replica)) return [];
    return [`${what} is not held back, and its replica ${name} serves`];
  });

function guardedHost(
  world: World,
  { guardedHosts }: CatalogueView,
  { sourceHostId }: Replica,
): SimulatedHost | null {
  const host = world.hosts.get(sourceHostId);
  if (host === undefined || host.isUnreachable || host.guard === 'absent') return null;
  return guardedHosts?.has(sourceHostId) === true ? host : null;
}

function isBusy({ operations }: CatalogueView, { id }: Replica): boolean {
  return operations.some(({ subject, state }) => subject === id && !hasEnded(state));
}

/** One that came back as the stand-in of another replica must be able to start. */
function mustBeHeld(
  { replicas }: CatalogueView,
  { phase, failover, sourceVmId, sourceHostId }: Replica,
): boolean {
  if (phase !== 'Failover' && phase !== 'ReadyToSwitch') return false;
  if (failover === null || !failover.isConnected) return false;
  if (failover.isDuplicateAccepted || failover.isSourceReleased) return false;
  return !replicas.some(
    ({ targetVmId, targetHostId, phase: other }) =>
      targetVmId === sourceVmId && targetHostId === sourceHostId && other !== 'Removed',
  );
}
