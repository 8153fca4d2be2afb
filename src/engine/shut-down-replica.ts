/** The part of a switchover that takes the replica off the network, and lets it serve again on the way back. */
import type { Json } from '../domain/operation/operation.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Failback } from './failback-facts.ts';
import { requireNobody } from './heed-source.ts';
import { numberIn, textIn } from './input.ts';
import { requireMeetsNobody } from './meet-nobody.ts';
import { shutDownVm } from './shut-down-vm.ts';
import type { SwitchoverTeller } from './tell-switchover.ts';

type Leaving = {
  readonly input: Json;
  readonly isJustSeen: boolean;
  readonly teller: SwitchoverTeller;
};

/** Whether what was seen before is still to be believed: not once a person was waited for. */
export async function shutDownReplica(
  ports: EnginePorts,
  context: OperationContext,
  failback: Failback,
  { input, isJustSeen, teller }: Leaving,
): Promise<boolean> {
  const { replica, replicaVmId: vmId, target } = failback;
  let isStillSeen = isJustSeen;
  await shutDownVm(context, {
    role: 'replica',
    name: replica.name,
    vmId,
    hypervisor: target.hypervisor,
    deadlineMs: numberIn(input, 'shutdownDeadlineMs'),
    onMissedDeadline: textIn(input, 'onMissedDeadline'),
    onAsked: () => {
      isStillSeen = false;
    },
    lookAgain: (options) => requireNobody(ports, failback, failback.failback.home, options),
    comeBack: (start, undoing) =>
      teller.comesBack(undoing, async () => {
        if (!isStillSeen) await requireMeetsNobody(ports, { replica, target, vmId }, undoing);
        await start();
      }),
  });
  return isStillSeen;
}
