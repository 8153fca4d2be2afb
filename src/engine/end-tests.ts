/**
 * Takes away the test VMs that may still stand on a replica that is about to go. Its tests were told to stop before; one
 * whose host was away then is ended here, so that no VM loses its disks while it runs.
 */
import type { ReplicaId } from '../domain/ids.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';

export function endTests(
  { catalog, hosts }: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
): Promise<null> {
  return context.step<null>('end-tests', {
    do: async ({ key, signal }) => {
      for (const { kind, hostId, identity } of await catalog.temporaries()) {
        if (kind !== 'test' || identity.replicaId !== id) continue;
        const { testBench } = await hosts.ports(hostId);
        await testBench.tearDown({ key, testId: identity.testId ?? '' }, { signal });
      }
      return null;
    },
    undo: 'nothing',
  });
}
