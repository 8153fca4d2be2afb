import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { UnderstudyError } from '../../domain/error.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Batch } from './batches.ts';
import { Counters } from './counters.ts';
import { startFakeServer } from './testing/fake-nbd-server.ts';
import { TransferThread } from './transfer-thread.ts';
import type { WorkerOrder } from './transfer-worker.ts';
import { type PoolRequest, WorkerPool } from './worker-pool.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-pool-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const SIZE = 4 * MIB;
const IDLE_MS = 5000;
const { signal } = new AbortController();

/** Time that passes when the test says so, and what slept through it. */
function stoppedClock(): Clock & { readonly sleepers: number; pass(): void } {
  const sleeping = new Set<() => void>();
  return {
    get sleepers() {
      return sleeping.size;
    },
    now: () => {
      throw new Error('nobody asks');
    },
    monotonicMs: () => 0,
    sleep: (ms, options) =>
      new Promise((resolve, reject) => {
        assert.equal(ms, IDLE_MS);
        assert.equal(options.isBackground, true);
        sleeping.add(resolve);
        options.signal.addEventListener('abort', () => {
          sleeping.delete(resolve);
          reject(new UnderstudyError('cancelled'));
        });
      }),
    pass() {
      for (const wake of sleeping) wake();
      sleeping.clear();
    },
  };
}

/** A pool whose threads can be counted. */
function countingPool(idleMax = 2) {
  const clock = stoppedClock();
  const started: TransferThread[] = [];
  const start = () => {
    const thread = new TransferThread();
    started.push(thread);
    return thread;
  };
  const pool = new WorkerPool({ clock, idleMs: IDLE_MS, idleMax, start });
  return {
    clock,
    pool,
    started,
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((thread) => thread.end()));
    },
  };
}

/** A disk to verify, of which every block is wrong. */
async function disk() {
  const server = await startFakeServer({ folder, name: 'disk', disk: Buffer.alloc(SIZE, 1) });
  const order = (): WorkerOrder => ({
    source: server.endpoint,
    sizeBytes: SIZE,
    counterMemory: new Counters().memory,
    sink: { type: 'verify' },
  });
  return Object.assign(server, { order });
}

const never = new Promise<void>(() => {});

function wholeDisk(): Batch {
  const run = { kind: 'content', firstBlock: 0, blockCount: 64, spoolPosition: 0 } as const;
  return { byteCount: SIZE, runs: [{ ...run, knownHashes: Buffer.alloc(64 * 32) }] };
}

/** One batch, given when all workers are connected, so that each has had its part in it. */
function request(order: WorkerOrder, more: Partial<PoolRequest> = {}): PoolRequest {
  const { promise: allConnected, resolve } = Promise.withResolvers<void>();
  const connected = whenAll(2, resolve);
  const batches = [wholeDisk()];
  const nextBatch = async () => {
    await allConnected;
    return batches.shift() ?? null;
  };
  return { workerCount: 2, order, nextBatch, connected, exhausted: never, ...more };
}

function whenAll(count: number, then: () => void): () => void {
  let missing = count;
  return () => {
    missing -= 1;
    if (missing === 0) then();
  };
}

function wrongBlocks(found: Awaited<ReturnType<WorkerPool['run']>>): number {
  return found.flatMap((set) => (set === null ? [] : [...set.bits])).filter((bits) => bits === 0xff)
    .length;
}

test('the next transfer gets the threads of the one before', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started, clock } = counting;
  for (let transfer = 0; transfer < 3; transfer += 1) {
    const found = await pool.run(request(server.order()), { signal });
    assert.equal(wrongBlocks(found), 64 / 8);
  }
  assert.equal(started.length, 2);
  assert.equal(clock.sleepers, 2);
  await server.idle();
});

test('a thread that was prepared is there for the next transfer', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started, clock } = counting;
  pool.prepare();
  pool.prepare();
  assert.equal(started.length, 1);
  assert.equal(clock.sleepers, 1);
  const found = await pool.run(request(server.order()), { signal });
  assert.equal(wrongBlocks(found), 64 / 8);
  assert.equal(started.length, 2);
  pool.prepare();
  assert.equal(started.length, 2);
});

test('a thread that was prepared for nothing ends', async () => {
  await using counting = countingPool();
  const { pool, started, clock } = counting;
  pool.prepare();
  clock.pass();
  await started[0]?.ended;
  assert.equal(pool.idleCount, 0);
});

test('where no thread can wait or be started, nothing is prepared, and nobody fails', async () => {
  await using counting = countingPool(0);
  counting.pool.prepare();
  assert.equal(counting.started.length, 0);
  const start = () => {
    throw new Error('no room for another thread');
  };
  const pool = new WorkerPool({ clock: stoppedClock(), idleMs: IDLE_MS, idleMax: 2, start });
  pool.prepare();
  assert.equal(pool.idleCount, 0);
});

test('transfers at the same time have threads of their own, and not more stay than may', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started, clock } = counting;
  const transfers = [request(server.order()), request(server.order())];
  const found = await Promise.all(transfers.map((each) => pool.run(each, { signal })));
  assert.deepEqual(found.map(wrongBlocks), [64 / 8, 64 / 8]);
  assert.equal(started.length, 4);
  assert.equal(clock.sleepers, 2);
  assert.equal(started.filter((thread) => thread.isFree).length, 2);
});

test('threads end when nobody has wanted them for long enough', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started, clock } = counting;
  await pool.run(request(server.order()), { signal });
  clock.pass();
  await Promise.all(started.map((thread) => thread.ended));
  await pool.run(request(server.order()), { signal });
  assert.equal(started.length, 4);
});

test('a thread that dies while it waits is not handed out', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started } = counting;
  await pool.run(request(server.order()), { signal });
  await started[0]?.end();
  const found = await pool.run(request(server.order()), { signal });
  assert.equal(wrongBlocks(found), 64 / 8);
  assert.equal(started.length, 3);
});

test('a thread that dies at work is the end of the transfer, and of its other threads, but not of the pool', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started } = counting;
  const { promise: batch } = Promise.withResolvers<null>();
  const connected = whenAll(2, () => void started[1]?.end());
  const doomed = request(server.order(), { nextBatch: () => batch, connected });
  await assert.rejects(pool.run(doomed, { signal }), { code: 'unexpected' });
  await Promise.all(started.map((thread) => thread.ended));
  await server.idle();
  const found = await pool.run(request(server.order()), { signal });
  assert.equal(wrongBlocks(found), 64 / 8);
  assert.equal(started.length, 4);
});

test('what fails in a thread is the error, and the thread is not used again', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started } = counting;
  const address = { type: 'unix', path: join(folder, 'nobody') } as const;
  const order = { ...server.order(), source: { address, exportName: 'nobody' } };
  await assert.rejects(pool.run(request(order), { signal }), { code: 'connection-lost' });
  await Promise.all(started.map((thread) => thread.ended));
  await pool.run(request(server.order()), { signal });
  assert.equal(started.length, 4);
});

test('an abort ends threads at work', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started } = counting;
  const aborting = new AbortController();
  const { promise: batch } = Promise.withResolvers<null>();
  const connected = whenAll(2, () => aborting.abort());
  const cut = request(server.order(), { nextBatch: () => batch, connected });
  const options = { signal: aborting.signal };
  await assert.rejects(pool.run(cut, options), { code: 'cancelled' });
  await Promise.all(started.map((thread) => thread.ended));
  await server.idle();
  await assert.rejects(pool.run(cut, options), { code: 'cancelled' });
  assert.equal(started.length, 2);
});

test('threads that were not there in time have nothing to do, and are there for the next transfer', async () => {
  await using server = await disk();
  await using counting = countingPool();
  const { pool, started } = counting;
  const late = request(server.order(), { exhausted: Promise.resolve() });
  assert.deepEqual(await pool.run(late, { signal }), [null, null]);
  const found = await pool.run(request(server.order()), { signal });
  assert.equal(wrongBlocks(found), 64 / 8);
  assert.equal(started.length, 2);
});

const ENDS_BY_ITSELF = `
  const [poolModule, clockModule, order] = process.argv.slice(1);
  const { WorkerPool } = await import(poolModule);
  const { systemClock } = await import(clockModule);
  const pool = new WorkerPool({ clock: systemClock(), idleMs: 3_600_000, idleMax: 2 });
  const nextBatch = async () => null;
  const connected = () => {};
  const exhausted = new Promise(() => {});
  const counterMemory = new SharedArrayBuffer(64);
  const request = { workerCount: 2, order: { ...JSON.parse(order), counterMemory } };
  pool.prepare();
  await pool.run({ ...request, nextBatch, connected, exhausted }, { signal: new AbortController().signal });
  console.log('moved');
`;

const ENDS_UNUSED = `
  const [poolModule, clockModule] = process.argv.slice(1);
  const { WorkerPool } = await import(poolModule);
  const { systemClock } = await import(clockModule);
  new WorkerPool({ clock: systemClock(), idleMs: 3_600_000, idleMax: 2 }).prepare();
  console.log('prepared');
`;

test('a process with idle threads can end', async () => {
  await using server = await disk();
  const { counterMemory: _, ...order } = server.order();
  assert.equal(await outputOf(ENDS_BY_ITSELF, JSON.stringify(order)), 'moved');
});

test('a process whose thread was prepared for nothing can end', async () => {
  assert.equal(await outputOf(ENDS_UNUSED), 'prepared');
});

async function outputOf(script: string, ...more: readonly string[]): Promise<string> {
  const modules = ['./worker-pool.ts', '../../system/clock.ts'].map(
    (path) => new URL(path, import.meta.url).href,
  );
  const args = ['--input-type=module', '-e', script, ...modules, ...more];
  // Had the threads, or the hour that they may wait, held it, it would have been killed, which is an error.
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  return stdout.trim();
}
