/** Replicate: a new restore point, and the end of those that retention no longer wants. Step by step: make-point.ts. */
import { replicaId } from '../domain/ids.ts';
import type { OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';
import { makePoint } from './make-point.ts';

export function replicateDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'replicate',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const order = {
        replicaId: id,
        supersedes: null,
        appliesRetention: true,
        isUrgent: false,
        keepsReserve: true,
      };
      const { pointId, sentBytes } = await makePoint(ports, context, order);
      return { pointId, sentBytes };
    },
  };
}
