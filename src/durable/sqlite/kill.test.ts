import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { removal } from '../../conformance/durable/story.ts';
import { systemClock } from '../../system/clock.ts';
import { systemIds } from '../../system/ids.ts';
import { openEngine, openJournal } from './testing/harness.ts';
import { endsWell, killedOperations } from './testing/kill-child.ts';

const KILLS = 6;

test('a process killed again and again loses and repeats nothing that it must not', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kill-'));
  try {
    for (let kill = 0; kill < KILLS; kill += 1) await runAndKill(folder, 4 + kill * 7);
    assert.equal(await runToEnd(folder), 0);
    await check(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Kills it some milliseconds after it resumed: anywhere at all. */
async function runAndKill(folder: string, afterMs: number): Promise<void> {
  const child = spawnChild(folder);
  const exited = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), exited]);
  const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
  await exited;
  clearTimeout(timer);
}

async function runToEnd(folder: string): Promise<number | null> {
  const child = spawnChild(folder);
  const [code] = await once(child, 'exit');
  return code;
}

function spawnChild(folder: string) {
  const script = join(import.meta.dirname, 'testing/kill-child.ts');
  return spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function check(folder: string): Promise<void> {
  const database = openJournal(join(folder, 'journal.db'), 'FULL');
  const engine = openEngine({ database, clock: systemClock(), ids: systemIds() });
  const world = (await readFile(join(folder, 'world'), 'utf8')).trim().split('\n');
  const rows = database.prepare('SELECT change FROM applied').all();
  const applied = rows.map((row) => String(row.change));
  let restarts = 0;
  for (const id of killedOperations) {
    const record = await engine.operation(id);
    assert.equal(record?.state, endsWell(id) ? 'succeeded' : 'failed');
    const history = await engine.history(id, 0);
    restarts += history.filter(({ type }) => type === 'resumed').length;
    for (let n = 0; n < 12; n += 1) {
      const count = (what: string) => world.filter((line) => line === `${id} ${what}`).length;
      const changed = (name: string) =>
        applied.filter((change) => change === JSON.stringify(removal(name))).length;
      assert.ok(count(`do s${n}`) >= 1);
      assert.equal(changed(`${id}-${n}`), 1);
      assert.equal(count(`undo s${n}`) >= 1, !endsWell(id));
      assert.equal(changed(`un-${id}-${n}`), endsWell(id) ? 0 : 1);
    }
  }
  assert.ok(restarts > 0, 'the kills hit running operations');
  await engine.close();
  database.close();
}
