/**
 * The embedded durable engine: one process, one SQLite file that the catalogue lives in, too.
 *
 *   API call ──▶ one transaction (journal, events, catalogue) ──▶ published ──▶ waiting ──▶ running
 *
 * The journal is the truth; what is in memory are only the courses of running operations and the queue for
 * slots. docs/adr/0002-embedded-journal.md says why it is ours and what its limits are.
 */
import type { DatabaseSync } from 'node:sqlite';
import { UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { OperationKind, OperationRecord } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Durable, OperationDefinition } from '../../ports/durable.ts';
import type { Ids } from '../../ports/ids.ts';
import { createAudience, hasSettled } from './audience.ts';
import { createCommits } from './commits.ts';
import { createJournal, type Journal } from './journal.ts';
import { type Emit, type EngineParts, HALT, untilHalted } from './parts.ts';
import { acceptOperation, requestCancel, requestRetry, storeMessage } from './requests.ts';
import { createRunner } from './runner.ts';

export type SqliteDurable = Durable & {
  /**
   * Forgets operations that ended before then, with their history, but for the newest `keep` ended ones.
   * Answers how many. A forgotten id is as good as new.
   */
  prune(limits: { readonly endedBefore: Instant; readonly keep: number }): Promise<number>;
};

export type SqliteDurableSettings = {
  /** Migrated to `JOURNAL_SCHEMA`, `synchronous=FULL`; nobody else holds a transaction on it across a turn. */
  readonly database: DatabaseSync;
  /** Applies catalogue changes inside the current transaction of `database`; throws to refuse them. */
  readonly applyChanges: (changes: readonly CatalogChange[]) => void;
  readonly clock: Clock;
  readonly ids: Ids;
  /** How many operations run at once; each may hold connections and memory. */
  readonly runningMax?: number;
  /** The journal cannot be written any more: nothing goes on until the process is started anew. */
  readonly onFault?: (error: unknown) => void;
  /** When a batch of writes closes; without it at the next turn of the event loop. A simulation keeps its clock still until then. */
  readonly nextTurn?: (flush: () => void) => void;
  /** For tests: called at named instants; if it throws, the engine stops dead as if the process had been killed. */
  readonly onCrashPoint?: (point: string) => void;
};

const RUNNING_MAX = 64;

export function createSqliteDurable(settings: SqliteDurableSettings): SqliteDurable {
  const audience = createAudience();
  const definitions = new Map<OperationKind, OperationDefinition>();
  const { journal, parts, transact, isDead, close } = assemble(settings, audience);
  const runner = createRunner({
    parts,
    definitions,
    runningMax: settings.runningMax ?? RUNNING_MAX,
  });

  async function settled(id: OperationId, signal: AbortSignal): Promise<OperationRecord> {
    const operation = journal.operation(id);
    if (operation === null) throw new UnderstudyError('operation-missing', { operation: id });
    if (hasSettled(operation.record)) return operation.record;
    if (parts.isHalted()) throw new UnderstudyError('shutting-down');
    return audience.nextSettling(id, signal);
  }

  return {
    register(definition) {
      definitions.set(definition.kind, definition);
    },
    async resume() {
      const open = journal.openOperations();
      for (const { record } of open) requireRegistered(definitions, record.kind);
      for (const operation of open) runner.adopt(operation);
    },
    async start(request) {
      requireRegistered(definitions, request.kind);
      const { operation, isNew } = await transact((emit) => acceptOperation(parts, emit, request));
      return untilHalted(async () => {
        if (isNew) {
          parts.reach('accepted');
          runner.adopt(operation);
        }
        return operation.record;
      });
    },
    operation: async (id) => journal.operation(id)?.record ?? null,
    operations: async (filter) => journal.operations(filter).map(({ record }) => record),
    waits: async (ids) => runner.waits(ids),
    history: async (id, afterSequence) => journal.history(id, afterSequence),
    settled: (id, { signal }) => settled(id, signal),
    async send(id, topic, message) {
      await transact((_, afterCommit) => {
        storeMessage(parts, id, topic, message);
        afterCommit(() => runner.course(id)?.wake(topic));
      });
    },
    cancel: (id, because = '') =>
      transact((emit, afterCommit) => {
        const { operation, effect } = requestCancel(parts, emit, { id, because });
        if (effect === 'stop') afterCommit(() => runner.course(id)?.cancel());
        if (effect === 'ended') afterCommit(() => runner.withdraw(id));
        return operation.record;
      }),
    retry: (id) =>
      transact((_, afterCommit) => {
        const operation = requestRetry(parts, id);
        afterCommit(() => runner.adopt(operation));
        return operation.record;
      }),
    subscribe: audience.subscribe,
    async close() {
      close();
      audience.dismiss(new UnderstudyError('shutting-down'));
      if (isDead()) return;
      await runner.halt();
    },
    prune: ({ endedBefore, keep }) => transact(() => journal.prune(endedBefore, keep)),
  };
}

type Transact = <T>(
  apply: (emit: Emit, afterCommit: (action: () => void) => void) => T,
) => Promise<T>;

/** What all pieces share: the writer and the two ways to stop, orderly and dead. */
function assemble(settings: SqliteDurableSettings, audience: ReturnType<typeof createAudience>) {
  const { database, clock, ids, applyChanges, onCrashPoint } = settings;
  const journal: Journal = createJournal(database);
  let isClosing = false;
  const onFault = (error: unknown) => {
    audience.dismiss(new UnderstudyError('shutting-down'));
    settings.onFault?.(error);
  };
  const nextTurn = settings.nextTurn ?? ((flush) => void setImmediate(flush));
  const commits = createCommits({ database, onFault, nextTurn });

  const transact: Transact = (apply) =>
    commits.write((afterCommit) => {
      const emit: Emit = (id, draft) => {
        const event = journal.insertEvent(id, draft, clock.now());
        const record = journal.operation(id)?.record;
        if (record === undefined) throw new UnderstudyError('operation-missing', { operation: id });
        afterCommit(() => audience.publish(event, record));
        return record;
      };
      return apply(emit, afterCommit);
    });

  const write: EngineParts['write'] = async (apply) => {
    try {
      return await transact(apply);
    } catch (error) {
      throw commits.isStopped() ? HALT : error;
    }
  };

  const reach = (point: string) => {
    if (commits.isStopped()) throw HALT;
    try {
      onCrashPoint?.(point);
    } catch {
      commits.abandon();
      throw HALT;
    }
  };

  const fault = (error: unknown) => {
    commits.abandon();
    onFault(error);
  };

  const parts: EngineParts = {
    journal,
    clock,
    ids,
    applyChanges,
    write,
    writeLazily(apply, point) {
      const written = write(apply).then(() => reach(point));
      // An entry that cannot be written while the function has gone on: its course is no longer the journal's.
      written.catch((error: unknown) => {
        if (error !== HALT) fault(error);
      });
    },
    reach,
    isHalted: () => isClosing || commits.isStopped(),
    fault,
    onProgress: audience.publishProgress,
  };
  const close = () => {
    isClosing = true;
  };
  return { journal, parts, transact, isDead: commits.isStopped, close };
}

function requireRegistered(
  definitions: ReadonlyMap<OperationKind, OperationDefinition>,
  kind: OperationKind,
): void {
  if (definitions.has(kind)) return;
  throw new UnderstudyError('unexpected', { reason: `no operation of kind ${kind} is registered` });
}
