// `npm run e2e [-- FILE...]`: the end-to-end tests on real guests, two files at a time; all of them, or those named.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { endToEndTest, root, runInLanes } from './lanes.js';

// What takes minutes begins first, so that at the end no lane waits long for the other.
const LONGEST = [
  'test/e2e/life-home-blocks.e2e.ts',
  'src/host/libvirt/working-layers.e2e.ts',
  'test/e2e/life-controller-lost.e2e.ts',
  'test/e2e/life-killed.e2e.ts',
  'src/host/chain/crash.e2e.ts',
  'src/host/libvirt/point-source.e2e.ts',
  'test/e2e/life-guest.e2e.ts',
  'test/e2e/data-guest.e2e.ts',
  'test/e2e/life-bisect.e2e.ts',
];

const isWell = await runInLanes(endToEndFiles(process.argv.slice(2)).map(endToEndTest));
if (!isWell) process.exitCode = 1;

function endToEndFiles(named) {
  if (named.length > 0) return named;
  const all = ['src', 'test/e2e'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
  );
  const files = all.filter((name) => name.endsWith('.e2e.ts')).sort();
  const first = LONGEST.filter((name) => files.includes(name));
  return [...first, ...files.filter((name) => !first.includes(name))];
}
