// Runs commands side by side, one per core up to two, in the order given, and tells of each when it is done, so that their
// lines do not mix. Plain JavaScript for any Node >= 18.
import { spawn } from 'node:child_process';
import { existsSync, statfsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './ensure-packages.js';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const node = ensurePackages();

// More guests and libvirt daemons at once than that, and their deadlines would measure us.
const LANES_MAX = 2;
const running = new Set();

// The programs have process groups of their own; whoever interrupts us means them. They clean up, and we wait.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(name, () => {
    process.exitCode = 1;
    tasksWaiting.length = 0;
    for (const child of running) child.kill(name);
  });
}
const tasksWaiting = [];

/**
 * A task is { name, program, args, env?, told? }: `told` makes what is printed of one that succeeded out of its output.
 * Returns whether all succeeded; what a failed one printed is printed whole.
 */
export async function runInLanes(tasks) {
  let isWell = true;
  tasksWaiting.push(...tasks);
  const lane = async () => {
    for (let task = tasksWaiting.shift(); task !== undefined; task = tasksWaiting.shift()) {
      isWell = (await runTask(task)) && isWell;
    }
  };
  const lanes = Math.min(LANES_MAX, availableParallelism());
  await Promise.all(Array.from({ length: lanes }, lane));
  return isWell && process.exitCode === undefined;
}

async function runTask({ name, program, args, env = {}, told = () => '' }) {
  const startedAt = performance.now();
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  running.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const status = await new Promise((resolve) => {
    child.once('error', (error) => {
      output += `${error.message}\n`;
      resolve(1);
    });
    child.once('close', (code) => resolve(code ?? 1));
  });
  running.delete(child);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const isWell = status === 0;
  const said = isWell ? told(output) : `\n${output}`;
  process.stdout.write(`${isWell ? '✔' : '✖'} ${name} (${seconds} s)${said}\n`);
  return isWell;
}

/** What Node makes of the sources is kept, so that a test process starts in half the time. */
const compiled = { NODE_COMPILE_CACHE: `${root}.cache/compiled-tests` };

/** Tests that need no guest: all files in one process, on files in memory where there is room. */
export function unitTests(name, files, told) {
  const args = ['--test', '--test-isolation=none', '--test-reporter=spec', ...files];
  return { name, program: node, args, env: { ...compiled, TMPDIR: memoryFolder() }, told };
}

/** A file whose tests start daemons and guests: a process of its own, with its temporary files in `folder`. */
export function endToEndTest(file, folder) {
  const told = (output) => `\n${output.trimEnd().replaceAll(/^/gm, '  ')}`;
  const args = ['--test', '--test-reporter=spec', file];
  return { name: file, program: node, args, env: { ...compiled, TMPDIR: folder }, told };
}

const MEMORY_BYTES_MIN = 4 * 1024 ** 3;

/** Most of what unit tests wait for is a disk that writes what will be deleted a second later. */
function memoryFolder() {
  const folder = '/dev/shm';
  if (!existsSync(folder)) return tmpdir();
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize >= MEMORY_BYTES_MIN ? folder : tmpdir();
}
