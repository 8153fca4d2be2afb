/**
 * A replica that is served while a step reads it. It is registered before it is opened: when its host goes away, the way back of
 * the step is barred, and an operation that is given up then leaves to the sweeper what it could not close.
 */
import { type OperationKey, operationKey } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { OperationContext } from '../ports/durable.ts';
import { readingTemporary } from './temporaries.ts';

export type Reading = {
  /** Names it among the steps. */
  readonly name: string;
  /** The end of its key, where the name is not the only one of its kind in the operation; else the name. */
  readonly keyName?: string;
  readonly replica: Replica;
};

/** The work is a step that opens the reading with this key, and closes it, also in its undo. */
export async function whileRegistered<T>(
  context: OperationContext,
  { name, keyName = name, replica }: Reading,
  work: (key: OperationKey) => Promise<T>,
): Promise<T> {
  const key = operationKey(context.operationId, keyName);
  const since = await context.now(`${name}-at`);
  const temporary = readingTemporary(key, replica, replica.id, since);
  const released = { type: 'temporary-released', key } as const;
  await context.record(`register-${name}`, [{ type: 'temporary-registered', temporary }], {
    undo: [released],
  });
  const result = await work(key);
  await context.record(`release-${name}`, [released], { undo: 'nothing' });
  return result;
}
