/** Looks at the source before a failover, fences it if asked, and takes the fence back. */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { SourceAtFailover } from '../domain/failover/connection.ts';
import type { Fencing } from '../domain/failover/fencing.ts';
import type { Replica, SourceFence } from '../domain/replica/replica.ts';
import { isConnected } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Clock } from '../ports/clock.ts';
import type { OperationContext, StepAttempt, UndoAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Hypervisor, HypervisorView } from '../ports/hypervisor.ts';
import { withDeadline } from './deadline.ts';

/** How long a source may take to answer before it counts as unknown: an outage must not wait for it. */
export const SOURCE_ANSWER_MS = 5_000;
const SHUTDOWN_DEADLINE_MS = 120_000;
/** Once is tried again: a host that does not answer twice is not fenced. */
const FENCE_ATTEMPTS_MAX = 2;

export type SourceSeen = SourceAtFailover & {
  /** MACs of its connected NICs; null where they cannot be named one by one. */
  readonly connectedNics: readonly string[] | null;
};

export async function lookAtSource(
  { hypervisor, clock }: { readonly hypervisor: HypervisorView; readonly clock: Clock },
  replica: Pick<Replica, 'sourceVmId'>,
  options: CallOptions,
): Promise<SourceSeen> {
  try {
    return await withDeadline(clock, SOURCE_ANSWER_MS, options, (signal) =>
      askSource(hypervisor, replica, { signal }),
    );
  } catch (error) {
    if (options.signal.aborted) throw error;
    const { code, kind } = asUnderstudyError(error);
    if (kind === 'bug') throw error;
    const power = code === 'vm-missing' ? 'absent' : 'unknown';
    return { power, isConnected: false, connectedNics: [] };
  }
}

async function askSource(
  hypervisor: HypervisorView,
  replica: Pick<Replica, 'sourceVmId'>,
  options: CallOptions,
): Promise<SourceSeen> {
  const power = await hypervisor.power(replica.sourceVmId, options);
  if (power === 'unknown') return { power, isConnected: false, connectedNics: [] };
  const vm = await hypervisor.vm(replica.sourceVmId, options);
  const macs = vm.nics.filter((nic) => nic.isConnected).map(({ mac }) => mac);
  const connectedNics = macs.every((mac) => mac !== null) ? macs : null;
  return { power: vm.power, isConnected: isConnected(vm), connectedNics };
}

/** What carrying out this fence on a source that looks like this will have done. */
export function fencingOf(seen: SourceSeen, fence: SourceFence): Fencing {
  // A journal of an older version did not look at the NICs one by one.
  return { fence, fencedNics: fence === 'nics' ? (seen.connectedNics ?? null) : [] };
}

/** Resolves only with positive evidence; a source that does not answer, also half-way, is not fenced. */
export function fenceSource(
  context: OperationContext,
  source: HostPorts,
  replica: Replica,
  fencing: Fencing,
  /** Asked on the way back: another one serves in the source's place by now, and it stays fenced. */
  staysFenced: (undoing: UndoAttempt) => Promise<boolean>,
): Promise<null> {
  const { fence } = fencing;
  if (fence === 'none') return Promise.resolve(null);
  return context.step<null>('fence-source', {
    do: async (attempt) => {
      try {
        await FENCES[fence](source.hypervisor, replica, attempt);
        await requireFenced(source.hypervisor, replica, fence, attempt);
        return null;
      } catch (error) {
        throw fenceError(replica, attempt, error);
      }
    },
    undo: async (attempt) => {
      if (await staysFenced(attempt)) return;
      await liftFence(source.hypervisor, replica, fencing, attempt);
    },
  });
}

export async function liftFence(
  hypervisor: Hypervisor,
  replica: Replica,
  { fence, fencedNics }: Fencing,
  { key, signal }: Pick<StepAttempt, 'key' | 'signal'>,
): Promise<void> {
  const command = { key, vmId: replica.sourceVmId };
  // A source that was disconnected first and shut down later is connected before it starts.
  if (fencedNics === null || fencedNics.length > 0) {
    const macs = fencedNics;
    await hypervisor.setNicsConnected({ ...command, connected: true, macs }, { signal });
  }
  if (fence === 'shutdown' || fence === 'power-off') await hypervisor.start(command, { signal });
}

/** No answer is no evidence: what the host does not confirm has not happened. */
async function requireFenced(
  hypervisor: Hypervisor,
  { sourceVmId, sourceVmName }: Replica,
  fence: Exclude<SourceFence, 'none'>,
  options: CallOptions,
): Promise<void> {
  if (fence === 'nics') {
    const { nics } = await hypervisor.vm(sourceVmId, options);
    const connected = nics.filter((nic) => nic.isConnected);
    if (connected.length === 0) return;
    const names = connected.map(({ mac, network }) => mac ?? network).join(', ');
    throw unfenced(sourceVmName, `it is still connected by ${names}`);
  }
  const power = await hypervisor.power(sourceVmId, options);
  if (power === 'off') return;
  throw unfenced(sourceVmName, `it is ${power} after it was to be off`);
}

function fenceError(
  { sourceVmName }: Replica,
  { attempt, signal }: StepAttempt,
  error: unknown,
): unknown {
  const { kind, message } = asUnderstudyError(error);
  if (signal.aborted || kind !== 'transient' || attempt < FENCE_ATTEMPTS_MAX) return error;
  return unfenced(sourceVmName, message.replace(/\.$/, ''), error);
}

function unfenced(vm: string, reason: string, cause?: unknown): UnderstudyError {
  return new UnderstudyError('fence-failed', { vm, reason }, cause);
}

type Fence = (hypervisor: Hypervisor, replica: Replica, attempt: StepAttempt) => Promise<void>;

const FENCES: Record<Exclude<SourceFence, 'none'>, Fence> = {
  nics: (hypervisor, { sourceVmId }, { key, signal }) => {
    const command = { key, vmId: sourceVmId, connected: false, macs: null };
    return hypervisor.setNicsConnected(command, { signal });
  },
  shutdown: async (hypervisor, { sourceVmId, sourceVmName }, { key, signal }) => {
    const command = { key, vmId: sourceVmId, deadlineMs: SHUTDOWN_DEADLINE_MS };
    if (await hypervisor.shutdown(command, { signal })) return;
    throw unfenced(sourceVmName, `it did not shut down within ${SHUTDOWN_DEADLINE_MS / 1000} s`);
  },
  'power-off': (hypervisor, { sourceVmId }, { key, signal }) =>
    hypervisor.powerOff({ key, vmId: sourceVmId }, { signal }),
};
