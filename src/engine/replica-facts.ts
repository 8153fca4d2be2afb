/** What an operation reads once, at its beginning, and then relies on: its claim keeps others from changing it. */
import { UnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import { DEFAULT_ARCHIVE_SECONDS, DEFAULT_SCRATCH, type Job } from '../domain/job/job.ts';
import { type ReplicaOperation, requireAllowed } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog, CatalogChange, Versioned } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';

export type ReplicaFacts = {
  readonly replica: Replica;
  readonly version: number;
  readonly newest: RestorePoint | null;
};

/** A journaled step: on replay the operation sees what it saw first. Throws `not-allowed-in-phase`. */
export function loadReplica(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
  operation: ReplicaOperation,
): Promise<ReplicaFacts> {
  return context.step<ReplicaFacts>('load', {
    do: async () => {
      const facts = await readFacts(ports, id);
      requireAllowed(facts.replica, operation);
      return facts;
    },
    undo: 'nothing',
  });
}

/** The same for a sweep, which is allowed in every phase. */
export function loadSwept(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
): Promise<ReplicaFacts> {
  return context.step<ReplicaFacts>('load', { do: () => readFacts(ports, id), undo: 'nothing' });
}

async function readFacts(ports: EnginePorts, id: ReplicaId): Promise<ReplicaFacts> {
  const { value: replica, version } = await requireReplica(ports.catalog, id);
  const points = await ports.catalog.points(id);
  return { replica, version, newest: points.at(-1) ?? null };
}

export async function requireReplica(catalog: Catalog, id: ReplicaId): Promise<Versioned<Replica>> {
  const found = await catalog.replica(id);
  if (found === null) throw new UnderstudyError('replica-missing', { replica: id });
  return found;
}

/** The settings that an operation on a replica takes from its job; the defaults once the job is gone. */
export type ReplicaSettings = Pick<
  Job,
  'quiesce' | 'networkMap' | 'bytesPerSecondMax' | 'archiveSeconds' | 'scratch' | 'retention'
>;

export function loadSettings(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<ReplicaSettings> {
  return context.step<ReplicaSettings>('load-settings', {
    do: async () => {
      const job = replica.jobId === null ? null : await ports.catalog.job(replica.jobId);
      return job === null ? DETACHED : settingsOf(job.value);
    },
    undo: 'nothing',
  });
}

function settingsOf(job: Job): ReplicaSettings {
  const { quiesce, networkMap, bytesPerSecondMax, archiveSeconds, scratch, retention } = job;
  return { quiesce, networkMap, bytesPerSecondMax, archiveSeconds, scratch, retention };
}

const DETACHED: ReplicaSettings = {
  quiesce: 'never',
  networkMap: {},
  bytesPerSecondMax: null,
  archiveSeconds: DEFAULT_ARCHIVE_SECONDS,
  scratch: DEFAULT_SCRATCH,
  retention: { keepLast: 7, tiers: [] },
};

/** The change that saves a replica over the version an operation loaded. */
export function savedReplica(replica: Replica, expectedVersion: number): CatalogChange {
  return { type: 'replica-saved', replica, expectedVersion };
}
