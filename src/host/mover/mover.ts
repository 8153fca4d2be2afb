import { isByteCount } from '../../domain/bytes.ts';
import { type ErrorDetails, UnderstudyError } from '../../domain/error.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
  MoveOptions,
  Mover,
  TransferRequest,
  TransferResult,
  VerifyRequest,
  VerifyResult,
} from '../../ports/mover.ts';
import { openHashTable } from '../hash-table/reader.ts';
import { WRONG_BLOCKS_MAX } from './block-mover.ts';
import { type MoverLimits, type MoverSettings, runSession } from './move-session.ts';

/** Two use two cores; a third did not help where there were two, and the target server is the limit beyond. */
const WORKERS = 2;
const LIMITS: MoverLimits = { openingMs: 10_000, movingMs: 300_000, flushingMs: 1_800_000 };

/**
 * A mover over NBD. `workers` is the number of threads that a large transfer uses; with 0, or where a server
 * does not allow several connections, the calling thread does all of it.
 */
export function createMover(input: {
  readonly clock: Clock;
  readonly workers?: number;
  readonly limits?: Partial<MoverLimits>;
}): Mover {
  const settings: MoverSettings = {
    clock: input.clock,
    workerCount: input.workers ?? WORKERS,
    limits: { ...LIMITS, ...input.limits },
  };
  return {
    transfer: (request, options) => transfer(settings, request, options),
    verify: (request, options) => verify(settings, request, options),
  };
}

async function transfer(
  settings: MoverSettings,
  request: TransferRequest,
  options: MoveOptions,
): Promise<TransferResult> {
  const { source, target, sizeBytes, extents, targetReads, knownHashesPath, recordsPath } = request;
  const { bytesPerSecondMax } = request;
  require(isByteCount(sizeBytes), 'The size of a disk must be a number of bytes');
  require(knownHashesPath === null ||
    extents.type ===
      'allocated', 'Known hashes can be used only when all that is allocated is looked at');
  require(bytesPerSecondMax === null ||
    bytesPerSecondMax > 0, 'The bound on bytes per second must be positive');
  const startedMs = settings.clock.monotonicMs();
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

async function verify(
  settings: MoverSettings,
  { endpoint, sizeBytes, hashesPath }: VerifyRequest,
  options: MoveOptions,
): Promise<VerifyResult> {
  require(isByteCount(sizeBytes), 'The size of a disk must be a number of bytes');
  await requireTableOf(sizeBytes, hashesPath);
  const { counters, wrongBlocks } = await runSession(
    settings,
    {
      source: endpoint,
      sizeBytes,
      extents: { type: 'allocated' },
      knownHashesPath: hashesPath,
      bytesPerSecondMax: null,
      goal: { type: 'verify' },
    },
    options,
  );
  return {
    checkedBytes: counters.get('read'),
    wrongBlockCount: counters.get('wrong'),
    wrongBlocks: wrongBlocks.toSorted((a, b) => a - b).slice(0, WRONG_BLOCKS_MAX),
  };
}

/** A table of a larger disk would have records that nothing is compared with. */
async function requireTableOf(sizeBytes: number, hashesPath: string): Promise<void> {
  await using table = await openHashTable(hashesPath);
  const { virtualSizeBytes } = table.header;
  const details = { path: hashesPath, reason: `it is of a disk of ${virtualSizeBytes} bytes` };
  if (virtualSizeBytes !== sizeBytes) throw new UnderstudyError('invalid-file', details);
}

function require(holds: boolean, reason: string): void {
  const details: ErrorDetails = { reason };
  if (!holds) throw new UnderstudyError('invalid-request', details);
}
