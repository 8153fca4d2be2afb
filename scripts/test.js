// `npm test`: everything. Checks and unit tests first, then the end-to-end tests on real guests, which need root,
// libvirt and QEMU: missing packages are listed and installed; where that cannot be, the skip is loud.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './ensure-packages.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = ensurePackages();
const CANNOT_RUN = 3;

run('npm', ['run', '--silent', 'check'], { UNDERSTUDY_MATRIX: 'controller' });
await Promise.all(['1-6', '7-12'].map(playSeeds)); // the fixed set of random runs, on both cores
const ready = spawnSync(node, ['src/main/prepare-e2e.ts'], { cwd: root, stdio: 'inherit' });
if (ready.status === CANNOT_RUN) process.exit(0);
if (ready.status !== 0) process.exit(ready.status ?? 1);
run(node, [
  '--test',
  '--test-concurrency=1', // beside another file a test that stops the target in time has failed
  '--test-reporter=spec',
  'src/**/*.e2e.ts',
  'test/e2e/*.e2e.ts',
]);

function run(command, args, env = {}) {
  const options = { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } };
  const { status } = spawnSync(command, args, options);
  if (status !== 0) process.exit(status ?? 1);
}

async function playSeeds(seeds) {
  const args = ['src/main/sim.ts', '--seeds', seeds, '--steps', '100'];
  const [status] = await once(spawn(node, args, { cwd: root, stdio: 'inherit' }), 'close');
  if (status !== 0) process.exit(status ?? 1);
}
