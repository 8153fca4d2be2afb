/**
 * One transfer or verification from opening to closing: connect, plan, move (here or in workers), flush.
 * Whatever ends it early (an error, an abort, a stall) closes all that was opened before it rejects, unless a file system hangs:
 * then it is left behind as a straggler, and closes all when it can.
 */
import type { FileHandle } from 'node:fs/promises';
import { MIB } from '../../domain/bytes.ts';
import { addBlocks, type BlockSet, noBlocks, union } from '../../domain/disk/block-set.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { MoveOptions, TransferTarget } from '../../ports/mover.ts';
import { type Batch, contextsFor, emptyTotals, mapRuns, planBatches } from './batches.ts';
import { moveBlocks, type Sink } from './block-mover.ts';
import { closeFile } from './close-file.ts';
import type { NbdConnection } from './connection.ts';
import { Counters } from './counters.ts';
import { hasMultipleConnections, openEndpoint } from './endpoint.ts';
import { abortError, connectionLost } from './errors.ts';
import { KnownHashes } from './known-hashes.ts';
import { type OpenTarget, openTarget } from './open-target.ts';
import { ReadAhead } from './read-ahead.ts';
import { makeDurable, openSpool } from './record-spool.ts';
import type { MoverSettings, SessionRequest, SessionResult } from './session-request.ts';
import { SharedWork } from './shared-work.ts';
import { type Stage, supervise } from './supervision.ts';
import type { WorkerOrder } from './transfer-worker.ts';

/** Below this, starting a worker (60 ms of processor time) costs more than it gains. */
export const WORKERS_FROM_BYTES = 64 * MIB;
/** 256 MiB of work at most; a batch is a few KiB, at most 40 where every other block is another extent. */
const BATCHES_AHEAD_MAX = 64;

export async function runSession(
  settings: MoverSettings,
  request: SessionRequest,
  { signal, onProgress }: MoveOptions,
): Promise<SessionResult> {
  const scope = new AbortController();
  const options = { signal: AbortSignal.any([signal, scope.signal]) };
  const session = new Session(settings, request, options);
  const finished = new AbortController();
  const supervision = supervise(
    {
      counters: session.counters,
      totals: session.totals,
      clock: settings.clock,
      sizeBytes: request.sizeBytes,
      bytesPerSecondMax: request.bytesPerSecondMax,
      onProgress,
      stage: () => session.stage,
      stalled: (stage) => scope.abort(stallError(stage)),
    },
    { signal: finished.signal },
  );
  try {
    return await settings.stragglers.orLeave(session.run(), filesOf(request), options);
  } catch (error) {
    // Closing the connections makes everything else fail too; the reason for it is what counts.
    throw options.signal.aborted ? abortError(options.signal) : error;
  } finally {
    finished.abort();
    await supervision;
  }
}

/** What a session writes to itself. */
function filesOf({ goal }: SessionRequest): readonly string[] {
  if (goal.type !== 'transfer') return [];
  const image = 'imagePath' in goal.target ? [goal.target.imagePath] : [];
  return goal.recordsPath === null ? image : [...image, goal.recordsPath];
}

class Session {
  readonly counters = new Counters();
  readonly totals = emptyTotals();
  stage: Stage;
  readonly #settings: MoverSettings;
  readonly #request: SessionRequest;
  readonly #options: CallOptions;

  constructor(settings: MoverSettings, request: SessionRequest, options: CallOptions) {
    this.#settings = settings;
    this.#request = request;
    this.#options = options;
    this.stage = this.#stageOf('opening', request.source);
  }

  async run(): Promise<SessionResult> {
    const { source: endpoint, knownHashesPath, goal } = this.#request;
    await using resources = new AsyncDisposableStack();
    const source = await this.#openSource();
    resources.defer(() => source.close());
    if (goal.type === 'map') return this.#result(await this.#map(source));
    const known = knownHashesPath === null ? null : await KnownHashes.open(knownHashesPath);
    resources.use(known);
    const output = goal.type === 'transfer' ? await this.#openOutput(goal, resources) : null;
    const plan = new ReadAhead(this.#plan(source, known), BATCHES_AHEAD_MAX);
    resources.defer(() => {
      source.close(); // Else the plan might wait for ever for an answer of a server that hangs.
      return plan.stop();
    });
    this.stage = this.#stageOf('moving', endpoint);
    const wrong = await this.#move(source, output, plan);
    if (output !== null) await this.#settle(output);
    return this.#result(wrong.reduce(eitherOf, null));
  }

  #result(found: BlockSet | null): SessionResult {
    return { counters: this.counters, totals: this.totals, found };
  }

  async #map(source: NbdConnection): Promise<BlockSet> {
    const { sizeBytes, extents, source: endpoint } = this.#request;
    this.stage = this.#stageOf('moving', endpoint);
    const found = noBlocks(sizeBytes);
    for await (const runs of mapRuns({ source, sizeBytes, extents, totals: this.totals })) {
      for (const run of runs) addBlocks(found, run);
    }
    this.totals.isComplete = true;
    return found;
  }

  async #openSource(): Promise<NbdConnection> {
    const { source: endpoint, sizeBytes, extents, goal } = this.#request;
    const use = goal.type === 'transfer' ? 'source' : 'verify';
    const metaContexts = contextsFor(extents);
    return await openEndpoint({ endpoint, use, sizeBytes, metaContexts }, this.#options);
  }

  async #openOutput(
    goal: SessionRequest['goal'] & { type: 'transfer' },
    resources: AsyncDisposableStack,
  ): Promise<Output> {
    this.stage = this.#stageOf('opening', goal.target);
    await this.#settings.stragglers.gone(filesOf(this.#request), this.#options);
    const target = await openTarget(goal.target, this.#request.sizeBytes, this.#options);
    resources.defer(() => target.close());
    const { target: about, targetReads, recordsPath: path } = goal;
    if (path === null) return { target, about, spool: null, targetReads };
    const file = await openSpool(path);
    resources.defer(() => closeFile(file));
    return { target, about, spool: { file, path }, targetReads };
  }

  #plan(source: NbdConnection, known: KnownHashes | null): AsyncGenerator<Batch> {
    const { sizeBytes, extents, goal } = this.#request;
    const isTransfer = goal.type === 'transfer';
    return planBatches({
      source,
      sizeBytes,
      extents,
      known,
      zeroRuns: isTransfer && goal.targetReads === 'parent' ? 'write' : 'skip',
      knownInHoles: goal.type === 'verify' && goal.holes === 'read' ? 'content' : 'zeros',
      totals: this.totals,
    });
  }

  async #move(
    source: NbdConnection,
    output: Output | null,
    plan: ReadAhead<Batch>,
  ): Promise<readonly (BlockSet | null)[]> {
    const held = await firstBatches(plan);
    const isSmall = totalBytes(held) < WORKERS_FROM_BYTES;
    const nextBatch = async () => held.shift() ?? (await plan.next());
    const sharesWell = hasMultipleConnections(source) && output?.target.allowsThreads !== false;
    return isSmall || !sharesWell || this.#settings.workerCount === 0
      ? [await this.#moveHere(source, output, nextBatch)]
      : await this.#moveInWorkers(source, output, nextBatch);
  }

  async #moveHere(
    source: NbdConnection,
    output: Output | null,
    nextBatch: () => Promise<Batch | null>,
  ): Promise<BlockSet | null> {
    const { counters } = this;
    const { sizeBytes } = this.#request;
    const sink: Sink =
      output === null
        ? { type: 'verify', wrong: null }
        : { ...this.#outlet(output), output: output.target.output };
    // Lanes that wait for their turn to send must notice that there is nothing to send to any more.
    const release = () => counters.setAllowance(Number.MAX_SAFE_INTEGER);
    this.#options.signal.addEventListener('abort', release, { once: true });
    try {
      await moveBlocks({ source, sizeBytes, counters, nextBatch, sink });
      return sink.type === 'verify' ? sink.wrong : null;
    } finally {
      this.#options.signal.removeEventListener('abort', release);
    }
  }

  /**
   * Starting a worker takes a tenth of a second: this thread moves blocks until all are there. Where none waits, the others
   * than the first are started only when the transfer turns out to be long.
   */
  async #moveInWorkers(
    source: NbdConnection,
    output: Output | null,
    nextBatch: () => Promise<Batch | null>,
  ): Promise<readonly (BlockSet | null)[]> {
    const { workerCount, pool, movedHereBytesMax: longBytes } = this.#settings;
    const work = new SharedWork({ nextBatch, longBytes });
    const failures: unknown[] = [];
    const stop = new AbortController();
    const stopAll = (error: unknown): [] => {
      failures.push(error);
      stop.abort();
      source.close();
      output?.target.output.close();
      return [];
    };
    const order = this.#workerOrder(output);
    const { exhausted } = work;
    const signal = AbortSignal.any([this.#options.signal, stop.signal]);
    let missing = workerCount;
    const connected = () => {
      missing -= 1;
    };
    const share = { order, nextBatch: () => work.next(), connected, exhausted };
    const run = (count: number) =>
      pool.run({ ...share, workerCount: count }, { signal }).catch(stopAll);
    const atOnce = Math.min(Math.max(1, pool.idleCount), workerCount);
    const later = work.isLong.then((isLong) => (isLong ? run(workerCount - atOnce) : []));
    const untilReady = async () => (missing === 0 ? null : await work.next());
    const here = this.#moveHere(source, output, untilReady).then((found) => [found]);
    const wrong = await Promise.all([here.catch(stopAll), run(atOnce)]);
    work.end();
    const more = await later;
    if (failures.length > 0) throw failures[0];
    return [...wrong.flat(), ...more];
  }

  #workerOrder(output: Output | null): WorkerOrder {
    const { source, sizeBytes } = this.#request;
    const sink =
      output === null
        ? { type: 'verify' as const }
        : { ...this.#outlet(output), target: output.target.forThreads };
    return { source, sizeBytes, counterMemory: this.counters.memory, sink };
  }

  #outlet({ spool, targetReads }: Output) {
    return {
      type: 'target' as const,
      targetReads,
      spool: spool === null ? null : { descriptor: spool.file.fd, path: spool.path },
      isThrottled: this.#request.bytesPerSecondMax !== null,
    };
  }

  /** The target first: records must never say more than what is there. */
  async #settle({ target, about, spool }: Output): Promise<void> {
    this.stage = this.#stageOf('flushing', about);
    await target.settle();
    if (spool !== null) await makeDurable(spool.file, spool.path);
  }

  #stageOf(what: Stage['what'], endpoint: TransferTarget): Stage {
    const { limits } = this.#settings;
    // A file is emptied when it is opened: where it held terabytes, that is work for its disk.
    const isEmptied = what === 'opening' && 'imagePath' in endpoint;
    return { what, endpoint, stallLimitMs: isEmptied ? limits.movingMs : limits[`${what}Ms`] };
  }
}

type Output = {
  readonly target: OpenTarget;
  /** How it was asked for. */
  readonly about: TransferTarget;
  /** Null: nobody wants records. */
  readonly spool: { readonly file: FileHandle; readonly path: string } | null;
  readonly targetReads: 'zeros' | 'parent';
};

function eitherOf(a: BlockSet | null, b: BlockSet | null): BlockSet | null {
  return a === null || b === null ? (a ?? b) : union(a, b);
}

/** Enough batches to tell whether the work is large, or all of them. */
async function firstBatches(plan: ReadAhead<Batch>): Promise<Batch[]> {
  const batches: Batch[] = [];
  while (totalBytes(batches) < WORKERS_FROM_BYTES) {
    const batch = await plan.next();
    if (batch === null) break;
    batches.push(batch);
  }
  return batches;
}

function totalBytes(batches: readonly Batch[]): number {
  return batches.reduce((sum, { byteCount }) => sum + byteCount, 0);
}

function stallError({ what, endpoint, stallLimitMs }: Stage) {
  const action = { opening: 'opening it', moving: 'moving blocks', flushing: 'flushing it' }[what];
  return connectionLost(endpoint, `${action} stood still for ${stallLimitMs} ms`);
}
