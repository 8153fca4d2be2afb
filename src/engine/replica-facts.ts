/** What an operation reads once, at its beginning, and then relies on: its claim keeps others from changing it. */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import {
  DEFAULT_ARCHIVE_SECONDS,
  DEFAULT_SCRATCH,
  type Job,
  type ProtectedVm,
  protectedVm,
} from '../domain/job/job.ts';
import { type ReplicaOperation, requireAllowed } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog, CatalogChange, Versioned } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import { withDeadline } from './deadline.ts';
import type { EnginePorts } from './engine-ports.ts';
import { whyLater } from './why-later.ts';

export type ReplicaFacts = {
  readonly replica: Replica;
  readonly version: number;
  readonly newest: RestorePoint | null;
  /** Whether a person asked the source's host to keep VMs that failed over from starting. Journals of older versions lack it. */
  readonly hasStartGuard?: boolean;
};

/** A journaled step: on replay the operation sees what it saw first. Throws `not-allowed-in-phase`. */
export function loadReplica(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
  operation: ReplicaOperation,
): Promise<ReplicaFacts> {
  return context.step<ReplicaFacts>('load', {
    do: async (attempt) => {
      const facts = await readFacts(ports, id);
      requireAllowed(facts.replica, operation);
      await requireCurrentEpoch(ports, facts.replica, attempt);
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
  return context.step<ReplicaFacts>('load', {
    do: async (attempt) => {
      const facts = await readFacts(ports, id);
      await requireCurrentEpoch(ports, facts.replica, attempt);
      return facts;
    },
    undo: 'nothing',
  });
}

const EPOCH_ANSWER_MS = 5_000;

/**
 * A controller on an old copy of its data had better not begin at all; hosts that have heard of a higher epoch would refuse
 * it half-way. Only positive evidence counts; a target that does not answer cannot be asked.
 */
async function requireCurrentEpoch(
  { hosts, clock }: EnginePorts,
  { id, epoch, targetHostId }: Replica,
  attempt: StepAttempt,
): Promise<void> {
  let current: number | null;
  try {
    const { store } = await hosts.ports(targetHostId);
    current = await withDeadline(clock, EPOCH_ANSWER_MS, attempt, (signal) =>
      store.epoch(id, { signal }),
    );
  } catch (error) {
    if (!attempt.signal.aborted && asUnderstudyError(error).kind === 'cancelled') return;
    whyLater(error, attempt);
    return;
  }
  if (current === null || current <= epoch) return;
  throw new UnderstudyError('epoch-refused', { replica: id, current, epoch });
}

export async function readFacts(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  id: ReplicaId,
): Promise<ReplicaFacts> {
  const { value: replica, version } = await requireReplica(catalog, id);
  const points = await catalog.points(id);
  const source = await catalog.host(replica.sourceHostId);
  const hasStartGuard = (source?.value.startGuard ?? null) !== null;
  return { replica, version, newest: points.at(-1) ?? null, hasStartGuard };
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
> &
  Pick<ProtectedVm, 'answersAt'>;

export function loadSettings(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<ReplicaSettings> {
  return context.step<ReplicaSettings>('load-settings', {
    do: () => readSettings(ports.catalog, replica),
    undo: 'nothing',
  });
}

/** As they are now, for work that nothing is decided by. */
export async function readSettings(catalog: Catalog, replica: Replica): Promise<ReplicaSettings> {
  const job = replica.jobId === null ? null : await catalog.job(replica.jobId);
  if (job === null) return DETACHED;
  const { answersAt } = protectedVm(job.value, replica.sourceVmId) ?? {};
  return { ...settingsOf(job.value), ...(answersAt === undefined ? {} : { answersAt }) };
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
