import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { contextsFor, emptyTotals, planBatches } from './batches.ts';
import { openEndpoint } from './endpoint.ts';
import { startFakeServer } from './testing/fake-nbd-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-batches-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('how much there is to move is told as far as the source is mapped, not only as far as it is planned', async () => {
  const contentBytes = 600 * BLOCK_BYTES;
  const disk = Buffer.alloc(1000 * BLOCK_BYTES);
  const sizeBytes = disk.length;
  const contexts = {
    'base:allocation': [
      { lengthBytes: contentBytes, flags: 0 },
      { lengthBytes: sizeBytes - contentBytes, flags: 3 },
    ],
  };
  await using server = await startFakeServer({ folder, name: 'source', disk, contexts });
  const extents = { type: 'allocated' } as const;
  const source = await openEndpoint(
    { endpoint: server.endpoint, use: 'source', sizeBytes, metaContexts: contextsFor(extents) },
    { signal: new AbortController().signal },
  );
  const totals = emptyTotals();
  const plan = planBatches({
    ...{ source, sizeBytes, extents, totals, known: null },
    ...{ zeroRuns: 'skip', knownInHoles: 'zeros' },
  });
  const { value: first } = await plan.next();
  assert.ok(first !== undefined && first.byteCount < contentBytes);
  assert.equal(totals.mappedBytes, sizeBytes);
  assert.equal(totals.selectedBytes, contentBytes);
  for await (const batch of plan) assert.ok(batch.byteCount > 0);
  assert.equal(totals.selectedBytes, contentBytes);
  source.close();
});
