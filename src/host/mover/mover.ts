import { GIB, isByteCount } from '../../domain/bytes.ts';
import { type BlockSet, noBlocks, rangesOf } from '../../domain/disk/block-set.ts';
import { type ErrorDetails, UnderstudyError } from '../../domain/error.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
  MoveOptions,
  Mover,
  SurveyRequest,
  TransferRequest,
  TransferResult,
  VerifyRequest,
  VerifyResult,
} from '../../ports/mover.ts';
import { openHashTable } from '../hash-table/reader.ts';
import { runSession, WORKERS_FROM_BYTES } from './move-session.ts';
import type { MoverLimits, MoverSettings, SessionRequest } from './session-request.ts';
import { Stragglers } from './stragglers.ts';
import { WorkerPool } from './worker-pool.ts';

/** Two use two cores; a third did not help where there were two, and the target server is the limit beyond. */
const WORKERS = 2;
/**
 * For the next disk of a VM and the next VM of a job, which follow at once: a worker that is there already begins at full speed. Each
 * that waits holds 12 MiB, so a server at rest has none.
 */
const IDLE_MS = 5000;
/**
 * Up to this, about two seconds, the calling thread moves blocks beside the first worker instead of starting another. For longer it
 * must not be busy: it also answers requests.
 */
const MOVED_HERE_BYTES_MAX = 2 * GIB;
/** Of the wrong blocks that a verification names. */
const WRONG_BLOCKS_MAX = 100;
const LIMITS: MoverLimits = {
  openingMs: 10_000,
  movingMs: 300_000,
  flushingMs: 1_800_000,
  endingMs: 1000,
};

/**
 * A mover over NBD. `workers` is the number of threads that a large transfer uses; with 0, or where a server
 * does not allow several connections, the calling thread does all of it.
 */
export function createMover(input: {
  readonly clock: Clock;
  readonly workers?: number;
  readonly movedHereBytesMax?: number;
  readonly limits?: Partial<MoverLimits>;
}): Mover {
  const { clock, workers: workerCount = WORKERS } = input;
  const limits = { ...LIMITS, ...input.limits };
  const settings: MoverSettings = {
    clock,
    workerCount,
    movedHereBytesMax: input.movedHereBytesMax ?? MOVED_HERE_BYTES_MAX,
    pool: new WorkerPool({ clock, idleMs: IDLE_MS, idleMax: workerCount }),
    limits,
    stragglers: new Stragglers({ clock, patienceMs: limits.endingMs }),
  };
  return {
    prepare: (expectedBytes) => {
      if (expectedBytes >= WORKERS_FROM_BYTES) settings.pool.prepare();
    },
    transfer: (request, options) => transfer(settings, request, options),
    verify: (request, options) => verify(settings, request, options),
    survey: (request, options) => survey(settings, request, options),
  };
}

async function transfer(
  settings: MoverSettings,
  request: TransferRequest,
  options: MoveOptions,
): Promise<TransferResult> {
  const { source, target, sizeBytes, targetReads, knownHashesPath, recordsPath } = request;
  const { bytesPerSecondMax } = request;
  require(isByteCount(sizeBytes), 'The size of a disk must be a number of bytes');
  require(knownHashesPath === null ||
    request.extents.type ===
      'allocated', 'Known hashes can be used only when all that is allocated is looked at');
  require(!('imagePath' in target) ||
    (targetReads === 'zeros' &&
      knownHashesPath === null), 'A file can only be filled from nothing');
  require(bytesPerSecondMax === null ||
    bytesPerSecondMax > 0, 'The bound on bytes per second must be positive');
  const startedMs = settings.clock.monotonicMs();
  const extents = await listed(settings, request, options);
  const goal = { type: 'transfer' as const, target, targetReads, recordsPath };
  const { counters, totals } = await runSession(
    settings,
    { source, sizeBytes, extents, knownHashesPath, bytesPerSecondMax, goal },
    options,
  );
  return {
    readBytes: counters.get('read'),
    sentBytes: counters.get('sent'),
    zeroedBytes: counters.get('zeroed'),
    unchangedBytes: counters.get('unchanged'),
    extentCount: totals.extentCount,
    durationMs: settings.clock.monotonicMs() - startedMs,
  };
}

/**
 * What changed is asked about alone, and what is allocated only where something changed: about a tebibyte with a few changes
 * QEMU answers the first at once, and the second only after a look at all its tables.
 */
async function listed(
  settings: MoverSettings,
  { source: endpoint, sizeBytes, extents: by }: TransferRequest,
  { signal }: MoveOptions,
): Promise<SessionRequest['extents']> {
  if (by.type !== 'changed') return by;
  return {
    type: 'listed',
    blocks: await survey(settings, { endpoint, sizeBytes, by }, { signal }),
  };
}

async function verify(
  settings: MoverSettings,
  { endpoint, sizeBytes, hashesPath }: VerifyRequest,
  options: MoveOptions,
): Promise<VerifyResult> {
  require(isByteCount(sizeBytes), 'The size of a disk must be a number of bytes');
  const tableBytes = await sizeOfTable(hashesPath);
  if (tableBytes !== sizeBytes) throw wrongTable(hashesPath, tableBytes);
  const { counters, found } = await runSession(
    settings,
    {
      source: endpoint,
      sizeBytes,
      extents: { type: 'allocated' },
      knownHashesPath: hashesPath,
      bytesPerSecondMax: null,
      goal: { type: 'verify', holes: 'read' },
    },
    options,
  );
  return {
    checkedBytes: counters.get('read'),
    wrongBlockCount: counters.get('wrong'),
    wrongBlocks: found === null ? [] : firstBlocks(found),
  };
}

function firstBlocks(wrong: BlockSet): readonly number[] {
  const blocks: number[] = [];
  for (const { firstBlock, blockCount } of rangesOf(wrong)) {
    const count = Math.min(blockCount, WRONG_BLOCKS_MAX - blocks.length);
    if (count === 0) break;
    for (let index = 0; index < count; index += 1) blocks.push(firstBlock + index);
  }
  return blocks;
}

async function survey(
  settings: MoverSettings,
  { endpoint, sizeBytes, by }: SurveyRequest,
  options: MoveOptions,
): Promise<BlockSet> {
  require(isByteCount(sizeBytes), 'The size of a disk must be a number of bytes');
  const common = { source: endpoint, sizeBytes, bytesPerSecondMax: null };
  if (by.type === 'changed') {
    const request = {
      ...common,
      extents: by,
      knownHashesPath: null,
      goal: { type: 'map' },
    } as const;
    return (await runSession(settings, request, options)).found ?? noBlocks(sizeBytes);
  }
  const { hashesPath: knownHashesPath } = by;
  const extents = { type: 'allocated' } as const;
  const goal = { type: 'verify', holes: 'believed' } as const;
  const request = { ...common, extents, knownHashesPath, goal };
  return (await runSession(settings, request, options)).found ?? noBlocks(sizeBytes);
}

async function sizeOfTable(hashesPath: string): Promise<number> {
  await using table = await openHashTable(hashesPath);
  return table.header.virtualSizeBytes;
}

/** A table of a larger disk would have records that nothing is compared with. */
function wrongTable(path: string, bytes: number): UnderstudyError {
  return new UnderstudyError('invalid-file', { path, reason: `it is of a disk of ${bytes} bytes` });
}

function require(holds: boolean, reason: string): void {
  const details: ErrorDetails = { reason };
  if (!holds) throw new UnderstudyError('invalid-request', details);
}
