/** What a takeover does about the source: looks at it, fences it if asked, decides whether the replica may be connected. */
import { UnderstudyError } from '../domain/error.ts';
import {
  type ConnectionDecision,
  decideConnection,
  fenceRefusal,
  neededFence,
  type SiblingAtFailover,
  type SourceAtFailover,
} from '../domain/failover/connection.ts';
import { addFence, type Fencing, stillFenced } from '../domain/failover/fencing.ts';
import type { Replica, SourceFence } from '../domain/replica/replica.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { leavesFenced } from './leave-place.ts';
import { lookAtSiblings } from './siblings.ts';
import { fenceSource, fencingOf, lookAtSource, type SourceSeen } from './source-fence.ts';
import type { Takeover } from './take-over.ts';

export type SourceSettled = Fencing & {
  readonly connection: ConnectionDecision;
  readonly isAnswering: boolean;
  /** False where the journal answers: whoever starts the replica then looks again. */
  readonly isJustSeen: boolean;
};

export async function settleSource(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Takeover,
): Promise<SourceSettled> {
  const { replica, source, acceptsDuplicate, isFencedBy } = takeover;
  let isJustSeen = false;
  const { seen, fence, siblings } = await context.step<Settled>('look-at-source', {
    do: async ({ signal }) => {
      isJustSeen = true;
      const parts = { hypervisor: source.hypervisor, clock: ports.clock };
      const [seen, siblings] = await Promise.all([
        lookAtSource(parts, replica, { signal }),
        lookAtSiblings(ports, replica, { signal }),
      ]);
      requireStillFenced(takeover, seen);
      const refused = fenceRefusal(seen, takeover.fence);
      if (refused === null) return { seen, siblings, fence: neededFence(seen, takeover.fence) };
      throw new UnderstudyError('fence-failed', { vm: replica.sourceVmName, reason: refused });
    },
    undo: 'nothing',
  });
  const added = fencingOf(seen, fence);
  await fenceSource(context, source, replica, added, (undoing) =>
    leavesFenced(ports, replica, added, undoing),
  );
  const { fencedNics } = addFence(leftBefore(replica, seen), added);
  const connection = decideConnection(seen, fence, acceptsDuplicate, siblings);
  return {
    fencedNics,
    fence: fence === 'none' ? isFencedBy : fence,
    connection,
    isAnswering: seen.power !== 'unknown',
    isJustSeen,
  };
}

/** Of an earlier failover whose undo left them as they were: whatever leads back from this one connects them, too. */
function leftBefore({ leftFencedNics }: Replica, { power, connectedNics }: SourceSeen): Fencing {
  const isTold = power !== 'unknown' && power !== 'absent';
  return { fence: 'none', fencedNics: stillFenced(leftFencedNics, isTold ? connectedNics : null) };
}

/** Somebody may have started it since this operation shut it down: then what it writes would be lost. */
function requireStillFenced(
  { isFencedBy, replica }: Pick<Takeover, 'isFencedBy' | 'replica'>,
  { power }: SourceAtFailover,
): void {
  if (isFencedBy === 'none' || (power !== 'running' && power !== 'paused')) return;
  const reason = `it is ${power} again after it was shut down`;
  throw new UnderstudyError('fence-failed', { vm: replica.sourceVmName, reason });
}

type Settled = {
  readonly seen: SourceSeen;
  readonly fence: SourceFence;
  /** Journals of older versions lack it. */
  readonly siblings?: readonly SiblingAtFailover[];
};
