/** Runs operations when their slots are free, and knows the courses of those that run. */
import type { OperationId } from '../../domain/ids.ts';
import type { OperationKind } from '../../domain/operation/operation.ts';
import type { OperationDefinition, SlotWait } from '../../ports/durable.ts';
import type { Course } from './course.ts';
import { execute } from './execution.ts';
import { type EngineParts, untilHalted } from './parts.ts';
import type { JournaledOperation } from './rows.ts';
import { type SlotUser, startable, waitsOf } from './slots.ts';

type Queued = SlotUser & { readonly kind: OperationKind };

export function createRunner(settings: {
  readonly parts: EngineParts;
  readonly definitions: ReadonlyMap<OperationKind, OperationDefinition>;
  readonly runningMax: number;
}) {
  const { parts, definitions } = settings;
  const waiting = new Map<OperationId, Queued>();
  const running = new Map<OperationId, Queued>();
  /** Those that wait for somebody, and want no slots until they hear. */
  const lending = new Set<OperationId>();
  const courses = new Map<OperationId, Course>();
  let isPumping = false;

  function launch(queued: Queued): void {
    const { id, kind } = queued;
    const definition = definitions.get(kind);
    if (definition === undefined) throw new Error(`unregistered kind ${kind}`);
    waiting.delete(id);
    running.set(id, queued);
    const lendSlots = (isLent: boolean) => {
      if (!isLent) lending.delete(id);
      else {
        lending.add(id);
        pumpSoon();
      }
    };
    const over = () => {
      running.delete(id);
      courses.delete(id);
      pump();
    };
    const executed = untilHalted(() =>
      execute({ parts, definition, id, lendSlots }, (course) => courses.set(id, course)),
    );
    executed.then(over).catch(parts.fault);
  }

  function pump(): void {
    if (parts.isHalted()) return;
    const ids = startable([...waiting.values()], users(), settings.runningMax);
    for (const id of ids) {
      const queued = waiting.get(id);
      if (queued !== undefined) launch(queued);
    }
  }

  function users(): readonly SlotUser[] {
    return [...running.values()].map((user) =>
      lending.has(user.id) ? { ...user, slots: [] } : user,
    );
  }

  /** Many operations are accepted in one commit: one look at the queue serves all of them. */
  function pumpSoon(): void {
    if (isPumping) return;
    isPumping = true;
    queueMicrotask(() => {
      isPumping = false;
      pump();
    });
  }

  return {
    /** Takes charge of an operation that has not ended. One that ran before a restart keeps its slots. */
    adopt({ record, accepted, slots }: JournaledOperation): void {
      const { id, kind, state } = record;
      if (waiting.has(id) || running.has(id)) return;
      const queued = { id, kind, accepted, slots };
      if (state === 'queued') {
        waiting.set(id, queued);
        pumpSoon();
      }
      if (state === 'running' || state === 'compensating') launch(queued);
    },
    withdraw(id: OperationId): void {
      waiting.delete(id);
      pumpSoon();
    },
    course: (id: OperationId) => courses.get(id),
    /** What each of these that wait for their turn lacks. */
    waits(ids: readonly OperationId[]): ReadonlyMap<OperationId, readonly SlotWait[]> {
      const asked = ids.filter((id) => waiting.has(id));
      if (asked.length === 0) return new Map();
      const all = waitsOf([...waiting.values()], users(), settings.runningMax);
      return new Map(asked.map((id) => [id, all.get(id) ?? []]));
    },
    /** Aborts what is in flight and waits until it noticed and everything is written. */
    async halt(): Promise<void> {
      for (const course of courses.values()) course.abortInFlight();
      await Promise.all([...courses.values()].map((course) => course.idle()));
      await parts.write(() => {});
    },
  };
}
