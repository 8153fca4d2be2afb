/**
 * Every benchmark, one after the other, because two at once would measure each other: `npm run bench`, some ten
 * minutes on two cores. docs/benchmarks.md says what the figures mean.
 *
 *   npm run bench -- [--rounds 3] [--size-mib 2048] [--sparse-mib 8192] [--extents 1024] [--daemon]
 *                  [--vms 1000] [--hosts 20] [--minutes 5] [--only system]
 *
 * Each benchmark is given the options that it knows.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const BENCHMARKS = [
  { name: 'durable', title: 'Durable steps', options: [] },
  {
    name: 'mover',
    title: 'Moving blocks',
    options: ['rounds', 'size-mib', 'sparse-mib', 'extents', 'daemon'],
  },
  { name: 'simulator', title: 'The engine in the simulator', options: ['vms', 'hosts', 'minutes'] },
  { name: 'system', title: 'The whole system', options: ['rounds'] },
  { name: 'failback', title: 'There and home', options: ['rounds'] },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string' },
    'size-mib': { type: 'string' },
    'sparse-mib': { type: 'string' },
    extents: { type: 'string' },
    daemon: { type: 'boolean' },
    vms: { type: 'string' },
    hosts: { type: 'string' },
    minutes: { type: 'string' },
    only: { type: 'string' },
  },
});

for (const { name, title, options } of BENCHMARKS) {
  if (values.only !== undefined && values.only !== name) continue;
  const bar = '='.repeat(title.length);
  console.log(`\n${title}\n${bar}`);
  const startedMs = performance.now();
  await runBenchmark(name, options);
  console.log(`\n(${name}: ${((performance.now() - startedMs) / 1000).toFixed(0)} s)`);
}

async function runBenchmark(name: string, options: readonly string[]): Promise<void> {
  const known = Object.entries(values).filter(([option]) => options.includes(option));
  const args = known.map(([option, value]) =>
    value === true ? `--${option}` : `--${option}=${value}`,
  );
  const script = join(import.meta.dirname, `${name}.ts`);
  const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
  const [code] = await once(child, 'close');
  if (code === 0) return;
  console.log(`${name} failed with ${code}`);
  process.exitCode = 1;
}
