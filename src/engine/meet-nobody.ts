/**
 * What was seen when an operation decided to connect its replica says nothing any more once it was suspended and is
 * retried, or once its controller was away in the middle of it: the source may be back by then, or another replica serve.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { VmId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import { isServing } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import { requireNoSibling } from './siblings.ts';
import { lookAtSource } from './source-fence.ts';

type Starting = {
  readonly replica: Replica;
  readonly target: Pick<HostPorts, 'hypervisor'>;
  readonly vmId: VmId;
};

/**
 * Looks again, right before the start. Throws `started-beside-source` and `sibling-serves`; nobody is kept waiting by a host
 * that does not answer, and a replica that runs already is left to what tells of sources that are back.
 */
export async function requireMeetsNobody(
  ports: EnginePorts,
  { replica, target, vmId }: Starting,
  options: CallOptions,
): Promise<void> {
  const { failover, name, sourceHostId, sourceVmName } = replica;
  if (failover === null || !failover.isConnected || failover.isDuplicateAccepted) return;
  if ((await target.hypervisor.power(vmId, options)) === 'running') return;
  const { hypervisor } = await ports.hosts.ports(sourceHostId);
  const seen = await lookAtSource({ hypervisor, clock: ports.clock }, replica, options);
  if (isServing(seen)) {
    const details = { replica: name, vm: sourceVmName, back: wayBack(replica) };
    throw new UnderstudyError('started-beside-source', details);
  }
  await requireNoSibling(ports, replica, name, options);
}

/** What leads to the source from here, as commands. */
function wayBack({ name, phase }: Replica): string {
  const undo = `\`understudy undo-failover ${shellArgument(name)}\``;
  if (phase !== 'ReadyToSwitch') return undo;
  return `\`understudy cancel-failback ${shellArgument(name)}\`, then ${undo}`;
}
