/**
 * The `Mover` port: blocks between any two endpoints of the world, in the time that the link between their hosts takes.
 * Stands beside the target, so its calls are named `<target host>.mover.<method>`.
 */
import { BLOCK_BYTES, blockCount } from '../domain/bytes.ts';
import { addBlocks, type BlockSet, noBlocks, rangesOf } from '../domain/disk/block-set.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { HostId } from '../domain/ids.ts';
import type {
  BlockEndpoint,
  MoveOptions,
  Mover,
  SurveyRequest,
  TransferRequest,
  TransferResult,
  TransferTarget,
  VerifyRequest,
  VerifyResult,
} from '../ports/mover.ts';
import type { CallGate, Passing } from './call-gate.ts';
import type { BlockView } from './endpoints.ts';
import { recordsAt } from './files.ts';
import type { SimulatedHost, Surroundings } from './host.ts';
import { type Blocks, blockBytes, type Token } from './image.ts';
import type { Random } from './random.ts';

/** The way between two hosts, both directions. `lossRate`: the share of packets that never arrive, from 0 to 1. */
export type Link = {
  isUp: boolean;
  latencyMs: number;
  bytesPerSecond: number;
  lossRate: number;
};

type Parts = {
  readonly around: Surroundings;
  readonly random: Random;
  readonly hostOf: (id: HostId) => SimulatedHost;
  readonly linkBetween: (a: HostId, b: HostId) => Link;
};

/** Blocks between two looks at the signal, the link and the hosts. */
const BATCH_BLOCKS = 16;
const WRONG_BLOCKS_MAX = 100;
/** How soon it is noticed that stalled storage goes on. */
const STALLED_LOOK_MS = 1000;
/** Linux: tcp_rto_min, and tcp_retries2 within a few: RFC 6298. */
const RETRANSMISSION_MS = 200;
const RETRANSMISSIONS_MAX = 12;

export function createSimulatedMover(parts: Parts & { readonly gate: CallGate }): Mover {
  const { gate, around, hostOf } = parts;
  const callTo = (endpoint: BlockEndpoint, method: keyof Mover) =>
    ({ host: hostOf(around.endpoints.view(endpoint).hostId), port: 'mover', method }) as const;
  return {
    prepare: () => {},
    transfer: async (request, options) => {
      const between = { ...request, target: served(request.target) };
      return gate.call(callTo(between.target, 'transfer'), options, (passing) =>
        transfer(parts, between, options, passing),
      );
    },
    verify: async (request, options) =>
      gate.call(callTo(request.endpoint, 'verify'), options, (passing) =>
        verify(parts, request, options, passing),
      ),
    survey: async (request, options) =>
      gate.call(callTo(request.endpoint, 'survey'), options, (passing) =>
        survey(parts, request, options, passing),
      ),
  };
}

/** Nothing in this world is filled in its file. */
export function served(target: TransferTarget): BlockEndpoint {
  if ('imagePath' in target) throw new RangeError(`nobody serves ${target.imagePath}`);
  return target;
}

type Transfer = TransferRequest & { readonly target: BlockEndpoint };

type Counts = { read: number; sent: number; zeroed: number; unchanged: number };

async function transfer(
  parts: Parts,
  request: Transfer,
  options: MoveOptions,
  passing: Passing,
): Promise<TransferResult> {
  const { clock, files } = parts.around;
  const startedMs = clock.monotonicMs();
  if (request.knownHashesPath !== null && request.extents.type !== 'allocated') {
    const reason = 'Known hashes can be used only when all that is allocated is looked at';
    throw new UnderstudyError('invalid-request', { reason });
  }
  const known = request.knownHashesPath === null ? null : recordsAt(files, request.knownHashesPath);
  const blocks = selectedBlocks(parts, request, known);
  const records: Blocks = new Map();
  if (request.recordsPath !== null) files.set(request.recordsPath, { type: 'records', records });
  const counts: Counts = { read: 0, sent: 0, zeroed: 0, unchanged: 0 };
  const report = reporter(parts, request.sizeBytes, blocks, counts, options);
  for (let done = 0; done < blocks.length; done += BATCH_BLOCKS) {
    const sentBefore = counts.sent;
    const { source, target } = await openWay(parts, request, passing);
    for (const index of blocks.slice(done, done + BATCH_BLOCKS)) {
      moveBlock({ request, source, target, known, records, counts }, index);
    }
    const spentMs = batchMs(parts, source.hostId, target.hostId, counts.sent - sentBefore, request);
    await passing.spend(spentMs);
    await sendAgain(parts, source.hostId, target.hostId, passing);
    report(done + BATCH_BLOCKS);
  }
  await passing.moment('flushing');
  return {
    readBytes: counts.read,
    sentBytes: counts.sent,
    zeroedBytes: counts.zeroed,
    unchangedBytes: counts.unchanged,
    extentCount: extentCount(blocks),
    durationMs: clock.monotonicMs() - startedMs,
  };
}

/** Ascending. What the table knows and the source does not hold has become zeros. */
function selectedBlocks(
  { around }: Parts,
  request: Transfer,
  known: Blocks | null,
): readonly number[] {
  const source = around.endpoints.view(request.source);
  const target = around.endpoints.view(request.target);
  requireSizes(request, source, target);
  const limit = blockCount(request.sizeBytes);
  if (request.extents.type === 'listed') {
    return indexesOf(request.extents.blocks).filter((index) => index < limit);
  }
  if (request.extents.type === 'allocated') {
    const wanted = new Set([...source.allocated(), ...(known?.keys() ?? [])]);
    return [...wanted].filter((index) => index < limit).sort((a, b) => a - b);
  }
  const changed = source.changed(request.extents.metaContext);
  if (changed === null) {
    throw invalidEndpoint(request.source, `it has no context ${request.extents.metaContext}`);
  }
  return changed;
}

function requireSizes(request: Transfer, source: BlockView, target: BlockView): void {
  if (source.sizeBytes() !== request.sizeBytes) {
    throw invalidEndpoint(request.source, `its size is ${source.sizeBytes()}`);
  }
  requireAtLeast(request.target, target, request.sizeBytes);
  if (target.write === null) throw invalidEndpoint(request.target, 'it is read-only');
}

function requireAtLeast(endpoint: BlockEndpoint, view: BlockView, sizeBytes: number): void {
  if (view.sizeBytes() < sizeBytes) {
    throw invalidEndpoint(endpoint, `its size is only ${view.sizeBytes()}`);
  }
}

function invalidEndpoint({ address }: BlockEndpoint, reason: string): UnderstudyError {
  const endpoint = address.type === 'unix' ? address.path : `${address.host}:${address.port}`;
  return new UnderstudyError('invalid-endpoint', { endpoint, reason });
}

type Way = { readonly source: BlockView; readonly target: BlockView };

/** Looks up both ends afresh: they, their hosts or the link may be gone by now. */
async function openWay(
  parts: Parts,
  request: { readonly source: BlockEndpoint; readonly target: BlockEndpoint },
  { signal }: Passing,
): Promise<Way> {
  const source = parts.around.endpoints.view(request.source);
  const target = parts.around.endpoints.view(request.target);
  for (const view of [source, target]) {
    const host = parts.hostOf(view.hostId);
    while (host.isStorageStalled) await parts.around.clock.sleep(STALLED_LOOK_MS, { signal });
    if (host.isUnreachable) throw connectionLost(view.hostId, 'the host does not answer');
  }
  if (!parts.linkBetween(source.hostId, target.hostId).isUp) {
    throw connectionLost(source.hostId, 'the link is down');
  }
  return { source, target };
}

function connectionLost(host: HostId, reason: string): UnderstudyError {
  return new UnderstudyError('connection-lost', { endpoint: host, reason });
}

type BlockMove = Way & {
  readonly request: TransferRequest;
  readonly known: Blocks | null;
  readonly records: Blocks;
  readonly counts: Counts;
};

function moveBlock({ request, source, target, known, records, counts }: BlockMove, index: number) {
  const bytes = blockBytes(request.sizeBytes, index);
  const token: Token = source.read(index);
  counts.read += bytes;
  const before = known?.get(index) ?? 0;
  if (known !== null && before === token) {
    counts.unchanged += bytes;
    return;
  }
  // Nothing is to be done where nothing is written, unless the table knows better.
  if (token === 0 && before === 0 && request.targetReads === 'zeros') return;
  target.write?.(index, token);
  records.set(index, token);
  if (token === 0) counts.zeroed += bytes;
  else counts.sent += bytes;
}

function batchMs(
  { linkBetween }: Parts,
  from: HostId,
  to: HostId,
  bytes: number,
  { bytesPerSecondMax }: TransferRequest,
): number {
  const { latencyMs, bytesPerSecond } = linkBetween(from, to);
  const rate = Math.min(bytesPerSecond, bytesPerSecondMax ?? Number.POSITIVE_INFINITY);
  return latencyMs + (bytes * 1000) / rate;
}

/** As TCP does: what got lost is sent again after ever longer pauses, until the connection counts as dead. */
async function sendAgain(
  { linkBetween, random }: Parts,
  from: HostId,
  to: HostId,
  { spend }: Passing,
): Promise<void> {
  const { lossRate } = linkBetween(from, to);
  for (let attempt = 0; lossRate > 0 && random.chance(lossRate); attempt += 1) {
    if (attempt === RETRANSMISSIONS_MAX) throw connectionLost(from, 'too many packets are lost');
    await spend(RETRANSMISSION_MS * 2 ** attempt);
  }
}

function reporter(
  { around }: Parts,
  sizeBytes: number,
  blocks: readonly number[],
  counts: Counts,
  { onProgress }: MoveOptions,
): (done: number) => void {
  const startedMs = around.clock.monotonicMs();
  const totalBytes = blocks.reduce((sum, index) => sum + blockBytes(sizeBytes, index), 0);
  return () => {
    const elapsedMs = around.clock.monotonicMs() - startedMs;
    const bytesPerSecond = elapsedMs === 0 ? 0 : (counts.read * 1000) / elapsedMs;
    const doneBytes = counts.read;
    const remainingMs =
      bytesPerSecond === 0 ? null : ((totalBytes - doneBytes) * 1000) / bytesPerSecond;
    onProgress?.({ doneBytes, totalBytes, sentBytes: counts.sent, bytesPerSecond, remainingMs });
  };
}

function extentCount(blocks: readonly number[]): number {
  return blocks.filter((index, at) => at === 0 || blocks[at - 1] !== index - 1).length;
}

async function verify(
  parts: Parts,
  request: VerifyRequest,
  options: MoveOptions,
  passing: Passing,
): Promise<VerifyResult> {
  const { checkedBytes, wrong } = await compare(parts, request, options, passing);
  return {
    checkedBytes,
    wrongBlockCount: wrong.length,
    wrongBlocks: wrong.slice(0, WRONG_BLOCKS_MAX),
  };
}

async function survey(
  parts: Parts,
  { endpoint, sizeBytes, by }: SurveyRequest,
  options: MoveOptions,
  passing: Passing,
): Promise<BlockSet> {
  const blocks = noBlocks(sizeBytes);
  const add = (firstBlock: number) => addBlocks(blocks, { firstBlock, blockCount: 1 });
  if (by.type === 'compared') {
    const request = { endpoint, sizeBytes, hashesPath: by.hashesPath };
    for (const index of (await compare(parts, request, options, passing)).wrong) add(index);
    return blocks;
  }
  const view = parts.around.endpoints.view(endpoint);
  requireAtLeast(endpoint, view, sizeBytes);
  const changed = view.changed(by.metaContext);
  if (changed === null) throw invalidEndpoint(endpoint, `it has no context ${by.metaContext}`);
  for (const index of changed) add(index);
  return blocks;
}

async function compare(
  parts: Parts,
  request: VerifyRequest,
  options: MoveOptions,
  passing: Passing,
): Promise<{ readonly checkedBytes: number; readonly wrong: readonly number[] }> {
  const records = recordsAt(parts.around.files, request.hashesPath);
  const first = parts.around.endpoints.view(request.endpoint);
  requireAtLeast(request.endpoint, first, request.sizeBytes);
  const limit = blockCount(request.sizeBytes);
  const blocks = [...new Set([...first.allocated(), ...records.keys()])]
    .filter((index) => index < limit)
    .sort((a, b) => a - b);
  const counts: Counts = { read: 0, sent: 0, zeroed: 0, unchanged: 0 };
  const report = reporter(parts, request.sizeBytes, blocks, counts, options);
  const wrong: number[] = [];
  for (let done = 0; done < blocks.length; done += BATCH_BLOCKS) {
    const way = { source: request.endpoint, target: request.endpoint };
    const { source } = await openWay(parts, way, passing);
    for (const index of blocks.slice(done, done + BATCH_BLOCKS)) {
      counts.read += blockBytes(request.sizeBytes, index);
      if (source.read(index) !== (records.get(index) ?? 0)) wrong.push(index);
    }
    await passing.spend((BATCH_BLOCKS * BLOCK_BYTES * 1000) / VERIFY_BYTES_PER_SECOND);
    report(done);
  }
  return { checkedBytes: counts.read, wrong };
}

function indexesOf(set: BlockSet): readonly number[] {
  return [...rangesOf(set)].flatMap(({ firstBlock, blockCount: count }) =>
    Array.from({ length: count }, (_, index) => firstBlock + index),
  );
}

/** Reading and hashing on one machine. */
const VERIFY_BYTES_PER_SECOND = 1_000_000_000;
