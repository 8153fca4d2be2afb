// `npm run e2e [-- FILE...]`: the end-to-end tests on real guests, two files at a time; all of them, or those named.
// What one of them leaves among the temporary files fails the run.
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

// Short, because a socket's path holds 107 bytes, and open to all as the system's is: QEMU runs as another user.
const folder = mkdtempSync(join(tmpdir(), 'e2e-'));
chmodSync(folder, 0o1777);
try {
  const tests = endToEndFiles(process.argv.slice(2)).map((file) => endToEndTest(file, folder));
  if (!(await runInLanes(tests))) process.exitCode = 1;
  const left = readdirSync(folder);
  if (left.length > 0) {
    console.log(`✖ left among the temporary files: ${left.join(' ')}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}

function endToEndFiles(named) {
  if (named.length > 0) return named;
  const all = ['src', 'test/e2e'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
  );
  const files = all.filter((name) => name.endsWith('.e2e.ts')).sort();
  const first = LONGEST.filter((name) => files.includes(name));
  return [...first, ...files.filter((name) => !first.includes(name))];
}
