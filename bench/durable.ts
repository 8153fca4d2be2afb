/**
 * How many durable steps a second the embedded engine takes, on the disk that TMPDIR names and with every
 * commit flushed: `node bench/durable.ts`. Not part of any check; figures belong into ADR 0002.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { operationId, operationKey } from '../src/domain/ids.ts';
import { createSqliteDurable } from '../src/durable/sqlite/engine.ts';
import { JOURNAL_SCHEMA } from '../src/durable/sqlite/schema.ts';
import type { OperationContext } from '../src/ports/durable.ts';
import { createSqliteCatalog } from '../src/store/catalog.ts';
import { openDatabase } from '../src/store/database.ts';
import { CATALOG_SCHEMA } from '../src/store/schema.ts';
import { systemClock } from '../src/system/clock.ts';
import { systemIds } from '../src/system/ids.ts';

type Load = {
  readonly name: string;
  readonly operations: number;
  readonly steps: number;
  readonly take: (context: OperationContext, name: string) => Promise<unknown>;
};

const step: Load['take'] = (context, name) =>
  context.step(name, { do: async () => null, undo: async () => {} });

const record: Load['take'] = (context, name) => {
  const key = operationKey(context.operationId, name);
  return context.record(name, [{ type: 'temporary-released', key }], { undo: 'nothing' });
};

const LOADS: readonly Load[] = [
  { name: '1 operation x 1000 steps', operations: 1, steps: 1000, take: step },
  { name: '200 operations x 5 steps', operations: 200, steps: 5, take: step },
  { name: '1 operation x 1000 records', operations: 1, steps: 1000, take: record },
  { name: '200 operations x 5 records', operations: 200, steps: 5, take: record },
];

async function measure({ name, operations, steps, take }: Load): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-durable-'));
  const schemas = [CATALOG_SCHEMA, JOURNAL_SCHEMA];
  const database = openDatabase({ path: join(folder, 'understudy.db'), schemas });
  const { applyInTransaction: applyChanges } = createSqliteCatalog({ database });
  const clock = systemClock();
  const engine = createSqliteDurable({ database, applyChanges, clock, ids: systemIds() });
  engine.register({
    kind: 'replicate',
    async run(context) {
      for (let n = 0; n < steps; n += 1) await take(context, `step-${n}`);
      return null;
    },
  });
  const claims = { exclusive: [], slots: [] };
  const request = {
    kind: 'replicate',
    subject: 'rp',
    title: 'Bench',
    input: null,
    claims,
  } as const;
  const ids = Array.from({ length: operations }, (_, n) => operationId(`op-${n}`));
  const startedMs = clock.monotonicMs();
  await Promise.all(ids.map((id) => engine.start({ ...request, id })));
  const signal = new AbortController().signal;
  await Promise.all(ids.map((id) => engine.settled(id, { signal })));
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  const rate = Math.round((operations * steps) / seconds);
  console.log(`${name}: ${rate} a second (${seconds.toFixed(2)} s)`);
  await engine.close();
  database.close();
  rmSync(folder, { recursive: true });
}

for (const load of LOADS) await measure(load);
