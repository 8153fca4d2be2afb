import { asUnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { EnginePorts } from './engine-ports.ts';
import { requireReplica } from './replica-facts.ts';

const ATTEMPTS_MAX = 3;

/**
 * A command under the epoch that is recorded now. For work beside an operation that may raise it: between our reading it and
 * the host's hearing of it, a failover may have. Throws `replica-missing`.
 */
export async function withEpoch<T>(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  id: ReplicaId,
  use: (epoch: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    const { value } = await requireReplica(catalog, id);
    try {
      return await use(value.epoch);
    } catch (error) {
      const isOutrun = asUnderstudyError(error).code === 'epoch-refused';
      if (!isOutrun || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}
