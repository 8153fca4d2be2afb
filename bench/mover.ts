/**
 * How fast the mover is beside `qemu-img convert`, with the same kind of servers on the same files:
 *
 *   B0      qemu-img convert between servers as they come
 *   B1      qemu-img convert between servers started with GLIBC_TUNABLES (as ours are)
 *   mover   ours between tuned servers, hashing every block
 *
 *   node bench/mover.ts [--size-mib 2048] [--rounds 3] [--sparse-mib 8192] [--extents 1024]
 *                       [--extent-kib 1024] [--daemon] [--no-compile-cache]
 *
 * Runs are alternated and ratios are of medians, because single runs vary by a third on a busy machine. Each
 * run of either side begins with an empty target, is a process of its own (so that its peak memory is its
 * own) and ends with a flush. The mover's time is that of the transfer with the start of its threads, without
 * that of its process, which in life runs anyway; and its compiled code is kept in a private folder from one
 * run to the next, as a server's is (`--no-compile-cache`: compile everything anew). A first run is not counted.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

type Contestant = 'B0' | 'B1' | 'mover';
type Figures = {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly serverCpuSeconds: number;
  readonly addedMib: number;
};

const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
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
  const results: Record<Contestant, Figures[]> = { B0: [], B1: [], mover: [] };
  await race('mover', source);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const contestant of ['B0', 'mover', 'B1'] as const) {
      results[contestant].push(await race(contestant, source));
    }
  }
  console.log(`\n${title}`);
  for (const contestant of ['B0', 'B1', 'mover'] as const) {
    const figures = results[contestant];
    const seconds = median(figures.map((each) => each.seconds));
    const addedMib = median(figures.map((each) => each.addedMib));
    console.log(
      `${contestant.padEnd(6)} ${seconds.toFixed(2)} s  ${Math.round(dataMib / seconds)} MiB/s` +
        `  cpu ${median(figures.map((each) => each.cpuSeconds)).toFixed(2)} s` +
        `  servers ${median(figures.map((each) => each.serverCpuSeconds)).toFixed(2)} s` +
        (contestant === 'mover' ? `  memory +${Math.round(addedMib)} MiB` : '') +
        `  (${figures.map((each) => each.seconds.toFixed(2)).join(' ')})`,
    );
  }
  const of = (contestant: Contestant) => median(results[contestant].map((each) => each.seconds));
  console.log(
    `mover = ${(of('B0') / of('mover')).toFixed(2)} x B0, ${(of('B1') / of('mover')).toFixed(2)} x B1`,
  );
}

async function race(contestant: Contestant, source: string): Promise<Figures> {
  const target = join(folder, 'target.qcow2');
  rmSync(target, { force: true });
  run('qemu-img', 'create', '-q', '-f', 'qcow2', target, String(statSync(source).size));
  const tunables = contestant === 'B0' ? {} : { tunables: GLIBC_TUNABLES };
  const serve = values.daemon ? serveWithStorageDaemon : serveWithQemuNbd;
  const common = { folder, ...tunables };
  const ends = await Promise.all([
    serve({ ...common, name: 'source', imagePath: source, format: 'raw', isReadOnly: true }),
    serve({ ...common, name: 'target', imagePath: target, format: 'qcow2', isReadOnly: false }),
  ]);
  try {
    const figures = await move(contestant, ends, statSync(source).size);
    const serverCpuSeconds = ends.reduce((sum, { child }) => sum + cpuSeconds(child.pid ?? 0), 0);
    return { ...figures, serverCpuSeconds };
  } finally {
    for (const server of ends) await server.close();
    if (contestant === 'mover')
      run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', source, target);
  }
}

async function move(
  contestant: Contestant,
  [source, target]: readonly RunningServer[],
  sizeBytes: number,
): Promise<Omit<Figures, 'serverCpuSeconds'>> {
  if (source === undefined || target === undefined) throw new Error('two servers are needed');
  const convert = ['convert', '-n', '-W', '-m', '16', '-t', 'writeback', '-f', 'raw', '-O', 'raw'];
  const command =
    contestant === 'mover'
      ? [
          process.execPath,
          join(import.meta.dirname, 'mover-run.ts'),
          JSON.stringify([source.endpoint, target.endpoint]),
          String(sizeBytes),
          join(folder, 'spool'),
        ]
      : ['qemu-img', ...convert, nbdUrl(source), nbdUrl(target)];
  const [program = '', ...args] = ['/usr/bin/env', ...command];
  const cpuBefore = childrenCpuSeconds();
  const startedMs = performance.now();
  // mkdtemp made the folder for us alone: nobody else may write what is run from a compile cache.
  const cache = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const env = { ...process.env, ...(values['no-compile-cache'] ? {} : cache) };
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
  const output: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => output.push(text));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${contestant} failed with ${code}`);
  const seconds = (performance.now() - startedMs) / 1000;
  const cpuSeconds = childrenCpuSeconds() - cpuBefore;
  if (contestant !== 'mover') return { seconds, cpuSeconds, addedMib: Number.NaN };
  const { addedBytes, ...figures } = JSON.parse(output.join(''));
  return { ...figures, addedMib: addedBytes / MIB };
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
