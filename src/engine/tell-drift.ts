import { asUnderstudyError } from '../domain/error.ts';
import { replicaId } from '../domain/ids.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { textIn } from './input.ts';

/** Whichever operation on a replica runs into drift: the replica is called drifted from then on, until a rescan finds nothing. */
export function tellingDrift(definition: OperationDefinition): OperationDefinition {
  return {
    ...definition,
    run: async (context, input) => {
      try {
        return await definition.run(context, input);
      } catch (error) {
        const { code, message } = asUnderstudyError(error);
        if (code === 'replica-drifted') {
          await record(context, textIn(input, 'replicaId'), message);
        }
        throw error;
      }
    },
  };
}

async function record(context: OperationContext, replica: string, message: string): Promise<void> {
  const since = await context.now('drifted-at');
  const condition = { name: 'drifted', message, since } as const;
  const raised = { type: 'condition-raised', replicaId: replicaId(replica), condition } as const;
  await context.record('record-drift', [raised], { undo: 'nothing' });
}
