/**
 * Tests only, run as a process of its own and killed: `node kill-child.ts FOLDER`. Runs operations whose
 * effects are lines in FOLDER/world, says `ready` once it resumed, and ends when all operations have.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { removal } from '../../../conformance/durable/story.ts';
import { UnderstudyError } from '../../../domain/error.ts';
import { type OperationId, operationId } from '../../../domain/ids.ts';
import { NO_RETRY, type OperationContext } from '../../../ports/durable.ts';
import { systemClock } from '../../../system/clock.ts';
import { systemIds } from '../../../system/ids.ts';
import { openEngine, openJournal } from './harness.ts';

const OPERATIONS = 8;
const STEPS = 12;

export const killedOperations: readonly OperationId[] = Array.from({ length: OPERATIONS }, (_, n) =>
  operationId(`op-killed-${n}`),
);

/** Even ones succeed, odd ones fail in their last step and go back. */
export function endsWell(id: OperationId): boolean {
  return Number(id.at(-1)) % 2 === 0;
}

async function run(context: OperationContext, folder: string): Promise<null> {
  const id = context.operationId;
  const tell = (what: string) => appendFileSync(join(folder, 'world'), `${id} ${what}\n`);
  for (let n = 0; n < STEPS; n += 1) {
    await context.step(`s${n}`, {
      do: async () => {
        tell(`do s${n}`);
        return null;
      },
      undo: async () => tell(`undo s${n}`),
    });
    await context.record(`r${n}`, [removal(`${id}-${n}`)], { undo: [removal(`un-${id}-${n}`)] });
  }
  await context.step('last', {
    do: async () => {
      tell('do last');
      if (!endsWell(id)) throw new UnderstudyError('vm-not-off', { vm: id });
      return null;
    },
    undo: 'nothing',
    retry: NO_RETRY,
  });
  return null;
}

async function main(folder: string): Promise<void> {
  const database = openJournal(join(folder, 'journal.db'), 'FULL');
  const engine = openEngine({ database, clock: systemClock(), ids: systemIds() });
  engine.register({
    kind: 'replicate',
    run: (context) => run(context, folder),
  });
  await engine.resume();
  process.stdout.write('ready\n');
  const claims = { exclusive: [], slots: [{ name: 'host', limit: 3 }] };
  const request = {
    kind: 'replicate',
    subject: 'rp-1',
    title: 'Killed',
    input: null,
    claims,
  } as const;
  await Promise.all(killedOperations.map((id) => engine.start({ ...request, id })));
  const signal = new AbortController().signal;
  await Promise.all(killedOperations.map((id) => engine.settled(id, { signal })));
  await engine.close();
  database.close();
}

const [, script, folder] = process.argv;
if (script === import.meta.filename && folder !== undefined) await main(folder);
