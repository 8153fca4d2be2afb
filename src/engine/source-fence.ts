/** Looks at the source before a failover, fences it if asked, and takes the fence back. */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { SourceAtFailover } from '../domain/failover/connection.ts';
import type { Replica, SourceFence } from '../domain/replica/replica.ts';
import { isConnected } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Clock } from '../ports/clock.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Hypervisor } from '../ports/hypervisor.ts';
import { withDeadline } from './deadline.ts';

/** How long a source may take to answer before it counts as unknown: an outage must not wait for it. */
export const SOURCE_ANSWER_MS = 5_000;
const SHUTDOWN_DEADLINE_MS = 120_000;

export async function lookAtSource(
  { hypervisor, clock }: { readonly hypervisor: Hypervisor; readonly clock: Clock },
  replica: Replica,
  options: CallOptions,
): Promise<SourceAtFailover> {
  try {
    return await withDeadline(clock, SOURCE_ANSWER_MS, options, (signal) =>
      askSource(hypervisor, replica, { signal }),
    );
  } catch (error) {
    if (options.signal.aborted) throw error;
    const { code, kind } = asUnderstudyError(error);
    if (kind === 'bug') throw error;
    return { power: code === 'vm-missing' ? 'absent' : 'unknown', isConnected: false };
  }
}

async function askSource(
  hypervisor: Hypervisor,
  replica: Replica,
  options: CallOptions,
): Promise<SourceAtFailover> {
  const power = await hypervisor.power(replica.sourceVmId, options);
  if (power === 'unknown') return { power, isConnected: false };
  const vm = await hypervisor.vm(replica.sourceVmId, options);
  return { power: vm.power, isConnected: isConnected(vm) };
}

/** A fence needs positive evidence: a source that does not answer is not fenced, and the step fails. */
export function fenceSource(
  context: OperationContext,
  source: HostPorts,
  replica: Replica,
  fence: Exclude<SourceFence, 'none'>,
): Promise<null> {
  return context.step<null>('fence-source', {
    do: async (attempt) => {
      await FENCES[fence](source.hypervisor, replica, attempt);
      return null;
    },
    undo: (attempt) => liftFence(source.hypervisor, replica, fence, attempt),
  });
}

export async function liftFence(
  hypervisor: Hypervisor,
  replica: Replica,
  fence: SourceFence,
  { key, signal }: Pick<StepAttempt, 'key' | 'signal'>,
): Promise<void> {
  const command = { key, vmId: replica.sourceVmId };
  if (fence === 'nics') {
    await hypervisor.setNicsConnected({ ...command, connected: true }, { signal });
  } else if (fence !== 'none') {
    await hypervisor.start(command, { signal });
  }
}

type Fence = (hypervisor: Hypervisor, replica: Replica, attempt: StepAttempt) => Promise<void>;

const FENCES: Record<Exclude<SourceFence, 'none'>, Fence> = {
  nics: (hypervisor, { sourceVmId }, { key, signal }) =>
    hypervisor.setNicsConnected({ key, vmId: sourceVmId, connected: false }, { signal }),
  shutdown: async (hypervisor, { sourceVmId, sourceVmName }, { key, signal }) => {
    const command = { key, vmId: sourceVmId, deadlineMs: SHUTDOWN_DEADLINE_MS };
    if (await hypervisor.shutdown(command, { signal })) return;
    const reason = `it did not shut down within ${SHUTDOWN_DEADLINE_MS / 1000} s`;
    throw new UnderstudyError('fence-failed', { vm: sourceVmName, reason });
  },
  'power-off': (hypervisor, { sourceVmId }, { key, signal }) =>
    hypervisor.powerOff({ key, vmId: sourceVmId }, { signal }),
};
