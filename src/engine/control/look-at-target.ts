/** What is in the way of a replica's start at its target: it has to be heard before the disaster. */
import { asUnderstudyError } from '../../domain/error.ts';
import { type BasisIds, driftOfBasis } from '../../domain/replica/finding.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import { withDeadline } from '../deadline.ts';
import type { ControllerPorts } from './controller-ports.ts';

/** A long merge lets nobody look at the chain meanwhile; whoever is in a hurry is not to wait for it. */
const PATIENCE_MS = 10_000;

export type TargetSeen = {
  /** Why the basis cannot be trusted; null: it can, or nobody knows. */
  readonly drift: string | null;
  readonly warnings: readonly string[];
};

/** A target that does not answer says so, too. */
export async function lookAtTarget(
  ports: ControllerPorts,
  replica: Replica,
  basis: BasisIds,
  options: CallOptions,
): Promise<TargetSeen> {
  try {
    return await withDeadline(ports.clock, PATIENCE_MS, options, (signal) =>
      askTarget(ports, replica, basis, { signal }),
    );
  } catch (error) {
    const { code } = asUnderstudyError(error);
    const isLate = code === 'cancelled' && !options.signal.aborted;
    if (code !== 'host-unreachable' && !isLate) throw error;
    const warnings = ['The target host does not answer: the replica could not be started now.'];
    return { drift: null, warnings };
  }
}

async function askTarget(
  { hosts }: ControllerPorts,
  { id, targetHostId }: Replica,
  basis: BasisIds,
  options: CallOptions,
): Promise<TargetSeen> {
  const { hypervisor, store } = await hosts.ports(targetHostId);
  const drift = driftOfBasis(await store.inspect(id, options), basis);
  const findings = await hypervisor.preflightStorage(options);
  const warnings = findings.map(({ element, message }) => `Target, ${element}: ${message}`);
  return { drift, warnings };
}
