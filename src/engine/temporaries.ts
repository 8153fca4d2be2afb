/**
 * What must not outlive its operation. It is registered before it is made; the sweeper removes what is still
 * registered when its operation has ended, however that ended.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { type OperationId, type OperationKey, operationKey, type PointId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange } from '../ports/catalog.ts';

/** After this a temporary is swept even if its operation claims to be alive. */
const LIFETIME_MS = 7 * 24 * 3600 * 1000;

/** The register entries of one replication run, and the changes that make and end them. */
export function temporaryChanges(
  operation: OperationId,
  replica: Replica,
  point: PointId,
  startedAt: Instant,
): {
  readonly freezeKey: OperationKey;
  readonly registered: readonly CatalogChange[];
  readonly freezeReleased: CatalogChange;
  readonly partialReleased: CatalogChange;
} {
  const freezeKey = operationKey(operation, 'freeze');
  const partialKey = operationKey(operation, 'partial');
  const expiresAt = instant(startedAt + LIFETIME_MS);
  return {
    freezeKey,
    registered: [
      {
        type: 'temporary-registered',
        temporary: {
          key: freezeKey,
          hostId: replica.sourceHostId,
          kind: 'freeze',
          identity: { replicaId: replica.id, vmId: replica.sourceVmId },
          expiresAt,
        },
      },
      {
        type: 'temporary-registered',
        temporary: {
          key: partialKey,
          hostId: replica.targetHostId,
          kind: 'partial-point',
          identity: { replicaId: replica.id, pointId: point },
          expiresAt,
        },
      },
    ],
    freezeReleased: { type: 'temporary-released', key: freezeKey },
    partialReleased: { type: 'temporary-released', key: partialKey },
  };
}

/**
 * Tidying that may fail without harm: what it would have removed is registered, invisible to everyone else,
 * and the sweeper comes back for it. False when it must. Errors that are our own bugs still surface.
 */
export async function orLeaveToSweeper(tidy: () => Promise<void>): Promise<boolean> {
  try {
    await tidy();
    return true;
  } catch (error) {
    if (asUnderstudyError(error).kind === 'bug') throw error;
    return false;
  }
}
