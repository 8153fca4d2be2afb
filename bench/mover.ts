/**
 * How fast the mover is beside `qemu-img convert`, with the same kind of servers on the same files:
 *
 *   B0      qemu-img convert between servers as they come
 *   B1      qemu-img convert between servers started with GLIBC_TUNABLES (as ours are)
 *   cold    ours from such a server into the file of the same image, hashing every block, as each whole disk is moved: the first transfer in the
 *           life of a process, out of the blue
 *   first   the same in another process, after it was said that it will come and a pause as long as a freeze is: the first run of a VM
 *   next    another in the process of `first`, while its workers are still there: the next disk of a VM, the next VM of a job
 *   served  one more, between the servers of B1, as changes are moved
 *
 *   node bench/mover.ts [--size-mib 2048] [--rounds 3] [--sparse-mib 8192] [--extents 1024]
 *                       [--extent-kib 1024] [--daemon] [--no-compile-cache]
 *
 * Runs are alternated and ratios are of medians, because single runs vary by a third on a busy machine. Each
 * run begins with an empty target, servers of its own and memory for the target's pages that was in use just before (what a
 * virtual machine has given back to its host costs up to fifteen times as much to write to), and ends with a flush. The mover's process is started as the server is
 * (bin/understudy.js). Its time is that of the transfer with the start of its threads (but of one that was prepared), without
 * that of its process, which in life runs anyway; what it adds to the memory counts what was prepared, and so does its processor time. Its compiled code is kept in a private folder from one
 * run to the next, as a server's is (`--no-compile-cache`: compile everything anew). A first round is not counted.
 *
 * What is possible at the cost of B1: its processor time and that of SHA-256 for the same bytes, spread over all cores that never wait. Who costs
 * the servers less can do better. Where TMPDIR
 * is a tmpfs the processor is the limit; else it is often the kernel, which makes writers wait while it writes pages out.
 */
import { spawn } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import {
  type RunningServer,
  run,
  serveWithQemuNbd,
  serveWithStorageDaemon,
} from '../src/host/mover/testing/nbd-servers.ts';
import { GLIBC_TUNABLES } from '../src/host/nbd-server-tuning.ts';

const MIB = 1024 * 1024;
const { values } = parseArgs({
  options: {
    'size-mib': { type: 'string', default: '2048' },
    rounds: { type: 'string', default: '3' },
    'sparse-mib': { type: 'string', default: '8192' },
    extents: { type: 'string', default: '1024' },
    'extent-kib': { type: 'string', default: '1024' },
    'no-compile-cache': { type: 'boolean', default: false },
    daemon: { type: 'boolean', default: false },
  },
});

/** The shortest freeze that was seen: libvirt's `backup-begin` and the look at the VM before it. */
const FREEZE_MS = 140;

const OURS = ['cold', 'first', 'next', 'served'] as const;
const CONTESTANTS = ['B0', 'B1', ...OURS] as const;
type Contestant = (typeof CONTESTANTS)[number];
type Figures = {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly serverCpuSeconds: number;
  readonly addedMib: number;
};

const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
const target = join(folder, 'target.qcow2');
const ballast = join(folder, 'ballast');
try {
  const sizeMib = Number(values['size-mib']);
  const dense = join(folder, 'dense.raw');
  run('dd', 'if=/dev/urandom', `of=${dense}`, 'bs=1M', `count=${sizeMib}`, 'status=none');
  await series(`${sizeMib} MiB incompressible`, dense, sizeMib);
  rmSync(dense);
  const sparse = join(folder, 'sparse.raw');
  makeSparse(sparse);
  const dataMib = (Number(values.extents) * Number(values['extent-kib'])) / 1024;
  const extents = `${values.extents} extents of ${values['extent-kib']} KiB`;
  await series(`${values['sparse-mib']} MiB with ${extents}`, sparse, dataMib);
} finally {
  rmSync(folder, { recursive: true });
}

/** Extents of random bytes, evenly spread. */
function makeSparse(path: string): void {
  const extents = Number(values.extents);
  const sizeBytes = Number(values['sparse-mib']) * MIB;
  const strideBytes = Math.floor(sizeBytes / extents);
  const file = openSync(path, 'w');
  ftruncateSync(file, sizeBytes);
  for (let index = 0; index < extents; index += 1) {
    const content = randomBytes(Number(values['extent-kib']) * 1024);
    writeSync(file, content, 0, content.length, index * strideBytes);
  }
  closeSync(file);
}

async function series(title: string, source: string, dataMib: number): Promise<void> {
  // Else the first flush of a contestant would also pay for the source's own unwritten pages.
  run('sync', '-f', source);
  const results: Record<Contestant, Figures[]> = {
    ...{ B0: [], B1: [], cold: [], first: [], next: [], served: [] },
  };
  await raceCold(source);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    results.B0.push(await race('B0', source, convert));
    results.cold.push(await raceCold(source));
    const { first, next, served } = await racePrepared(source);
    results.first.push(first);
    results.next.push(next);
    results.served.push(served);
    results.B1.push(await race('B1', source, convert));
  }
  console.log(`\n${title}`);
  for (const contestant of CONTESTANTS) report(contestant, results[contestant], dataMib);
  const of = (contestant: Contestant) => median(results[contestant].map((each) => each.seconds));
  const ceiling = ceilingBesideB1(results.B1, dataMib);
  for (const ours of OURS) {
    const ratio = (theirs: Contestant) => `${(of(theirs) / of(ours)).toFixed(2)} x ${theirs}`;
    const share = Math.round((100 * of('B1')) / of(ours) / ceiling);
    console.log(
      `${ours.padEnd(6)} = ${ratio('B0')}, ${ratio('B1')}, ${share} % of what is possible`,
    );
  }
  console.log(
    `possible with SHA-256 on ${availableParallelism()} cores: ${ceiling.toFixed(2)} x B1`,
  );
}

/** Who does what B1 does and hashes as well needs its processor time and that of SHA-256, at best without any core ever waiting. */
function ceilingBesideB1(figures: readonly Figures[], dataMib: number): number {
  const seconds = median(figures.map((each) => each.seconds));
  const spent = median(figures.map((each) => each.cpuSeconds + each.serverCpuSeconds));
  const hashing = spent + dataMib * hashSecondsPerMib();
  return seconds / Math.max(seconds, hashing / availableParallelism());
}

/** Of blocks of 64 KiB that are in the cache, as the mover hashes them. */
function hashSecondsPerMib(): number {
  const block = randomBytes(64 * 1024);
  const mib = 1024;
  const before = process.cpuUsage();
  for (let each = 0; each < mib * 16; each += 1) hash('sha256', block, 'binary');
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / mib;
}

function report(contestant: Contestant, figures: readonly Figures[], dataMib: number): void {
  const seconds = median(figures.map((each) => each.seconds));
  const addedMib = median(figures.map((each) => each.addedMib));
  console.log(
    `${contestant.padEnd(6)} ${seconds.toFixed(2)} s  ${Math.round(dataMib / seconds)} MiB/s` +
      `  cpu ${median(figures.map((each) => each.cpuSeconds)).toFixed(2)} s` +
      `  servers ${median(figures.map((each) => each.serverCpuSeconds)).toFixed(2)} s` +
      (Number.isNaN(addedMib) ? '' : `  memory +${Math.round(addedMib)} MiB`) +
      `  (${figures.map((each) => each.seconds.toFixed(2)).join(' ')})`,
  );
}

type Results = Readonly<Record<Contestant, Figures>>;
/** Null: the target is not served. */
type Ends = readonly [source: RunningServer, target: RunningServer | null];
type Run = (ends: Ends, sizeBytes: number) => Promise<Omit<Figures, 'serverCpuSeconds'>>;

async function raceCold(source: string): Promise<Figures> {
  await using mover = startMover();
  return await race('cold', source, mover.move);
}

/** Transfers of one process. What the first made is not compared, so that the second follows at once; both do the same. */
async function racePrepared(source: string): Promise<Pick<Results, 'first' | 'next' | 'served'>> {
  await using mover = startMover();
  const first = await race('first', source, mover.moveAfterFreeze);
  const next = await race('next', source, mover.move);
  requireExact(source);
  const served = await race('served', source, mover.moveBetweenServers);
  requireExact(source);
  return { first, next, served };
}

function requireExact(source: string): void {
  run('qemu-img', 'check', '-q', '-f', 'qcow2', target);
  run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', source, target);
}

async function race(contestant: Contestant, source: string, move: Run): Promise<Figures> {
  rmSync(target, { force: true });
  takeMemory(source);
  run('qemu-img', 'create', '-q', '-f', 'qcow2', target, String(statSync(source).size));
  const tunables = contestant === 'B0' ? {} : { tunables: GLIBC_TUNABLES };
  const serve = values.daemon ? serveWithStorageDaemon : serveWithQemuNbd;
  const common = { folder, ...tunables };
  const written = { ...common, imagePath: target, format: 'qcow2', isReadOnly: false } as const;
  const isServed = contestant !== 'cold' && contestant !== 'first' && contestant !== 'next';
  const ends = await Promise.all([
    serve({ ...common, name: 'source', imagePath: source, format: 'raw', isReadOnly: true }),
    isServed ? serve({ ...written, name: 'target' }) : null,
  ]);
  try {
    rmSync(ballast);
    const figures = await move(ends, statSync(source).size);
    const pids = ends.flatMap((server) => server?.child.pid ?? []);
    const serverCpuSeconds = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    return { ...figures, serverCpuSeconds };
  } finally {
    for (const server of ends) await server?.close();
  }
}

/** Somewhat more pages than the source holds, freed at the last moment, so that the target gets these. */
function takeMemory(source: string): void {
  const mib = Math.ceil((statSync(source).blocks * 512 * 1.25) / MIB);
  run('dd', 'if=/dev/zero', `of=${ballast}`, 'bs=1M', `count=${mib}`, 'status=none');
}

async function convert([from, to]: Ends): ReturnType<Run> {
  if (to === null) throw new RangeError('qemu-img is to write to a server');
  const args = ['convert', '-n', '-W', '-m', '16', '-t', 'writeback', '-f', 'raw', '-O', 'raw'];
  const cpuBefore = childrenCpuSeconds();
  const startedMs = performance.now();
  const child = spawn('qemu-img', [...args, nbdUrl(from), nbdUrl(to)], { stdio: 'inherit' });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`qemu-img failed with ${code}`);
  const seconds = (performance.now() - startedMs) / 1000;
  return { seconds, cpuSeconds: childrenCpuSeconds() - cpuBefore, addedMib: Number.NaN };
}

/** The mover's process, with the flags and the limits of the server. */
function startMover(): AsyncDisposable &
  Readonly<Record<'move' | 'moveAfterFreeze' | 'moveBetweenServers', Run>> {
  // mkdtemp made the folder for us alone: nobody else may write what is run from a compile cache.
  const cache = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const env = {
    ...process.env,
    MALLOC_ARENA_MAX: '2',
    MALLOC_TRIM_THRESHOLD_: '131072',
    MALLOC_MMAP_THRESHOLD_: '131072',
    ...(values['no-compile-cache'] ? {} : cache),
  };
  const args = ['--optimize-for-size', join(import.meta.dirname, 'mover-run.ts')];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  const closed = once(child, 'close');
  const answers = createInterface({ input: child.stdout });
  const runAfter =
    (freezeMs: number | null): Run =>
    async ([source, served], sizeBytes) => {
      const to = served?.endpoint ?? { imagePath: target };
      const request = { source: source.endpoint, target: to, sizeBytes };
      const order = { ...request, recordsPath: join(folder, 'spool'), freezeMs };
      child.stdin.write(`${JSON.stringify(order)}\n`);
      const ended = closed.then(([code]) => {
        throw new Error(`the mover ended with ${code}`);
      });
      const [line] = await Promise.race([once(answers, 'line'), ended]);
      const { addedBytes, ...figures } = JSON.parse(line);
      return { ...figures, addedMib: addedBytes / MIB };
    };
  return {
    move: runAfter(null),
    moveAfterFreeze: runAfter(FREEZE_MS),
    moveBetweenServers: runAfter(null),
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await closed;
    },
  };
}

function nbdUrl({ endpoint }: RunningServer): string {
  const { address, exportName } = endpoint;
  return `nbd+unix:///${exportName}?socket=${address.type === 'unix' ? address.path : ''}`;
}

/** User and system time of all children of this process that have ended. */
function childrenCpuSeconds(): number {
  const fields = processStat('self');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** User and system time of a live process, from /proc (proc_pid_stat(5)); ticks are 1/100 s on Linux. */
function cpuSeconds(pid: number): number {
  const fields = processStat(String(pid));
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The fields behind the name of the program: the first is the state. */
function processStat(pid: string): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
