// `npm run check`: format, types, lint, architecture, unit tests and stories; no root, no guests. With --whole, as
// `npm test` runs it, also what takes minutes.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, runInLanes, unitTests } from './lanes.js';

// Longest first. A file belongs to the first that it begins with.
const GROUPS = [
  'src/host/chain/store',
  'test/engine/crash-matrix/calls',
  'test/engine/crash-matrix/journal',
  'test/engine/crash-matrix/failing-calls',
  'test/engine/crash-matrix/hosts',
  'src/host/chain/',
  'test/scenarios/',
  'test/engine/',
  'src/host/',
  'src/durable/',
  'test/simulation/',
  'src/cli/',
  'src/',
  'test/',
];

/** They start the programs of QEMU two thousand times. */
const ONLY_WHOLE = ['src/host/chain/store', 'src/host/chain/'];
const isWhole = process.argv.includes('--whole');
/** How much of the crash matrix (test/engine/crash-matrix/trouble.ts). */
process.env.UNDERSTUDY_MATRIX ??= isWhole ? 'whole' : 'sample';

const files = ['src', 'test'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
);
const tests = files.filter((name) => name.endsWith('.test.ts')).sort();
const groups = GROUPS.filter((one) => isWhole || !ONLY_WHOLE.includes(one)).map((beginning) => ({
  beginning,
  files: tests.filter((name) => beginning === GROUPS.find((one) => name.startsWith(one))),
}));
const program = (name) => join(root, 'node_modules', '.bin', name);

const isWell = await runInLanes([
  { name: 'biome', program: program('biome'), args: ['check', '--error-on-warnings', '.'] },
  { name: 'tsc', program: program('tsc'), args: ['--noEmit'] },
  ...groups.map(({ beginning, files }) => unitTests(beginning, files, counted)),
]);
if (!isWhole)
  process.stdout.write('Left to `npm test`: src/host/chain, most of the crash matrix\n');
if (!isWell) process.exitCode = 1;

function counted(output) {
  const passed = /^ℹ pass (\d+)$/m.exec(output)?.[1] ?? 'no';
  const times = [...output.matchAll(/ (\d+) times, always to a sound end/g)];
  const interruptions = times.reduce((sum, [, count]) => sum + Number(count), 0);
  return `: ${passed} tests${times.length === 0 ? '' : `, ${interruptions} interruptions`}`;
}
