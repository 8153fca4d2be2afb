// `npm test`: everything. Checks and unit tests first, then the end-to-end tests on real guests, which need root,
// libvirt and QEMU: missing packages are listed and installed; where that cannot be, the skip is loud.
import { spawnSync } from 'node:child_process';
import { node, root, runInLanes } from './lanes.js';

const CANNOT_RUN = 3;

run(['scripts/check.js', '--whole']);
if (!(await runInLanes(['1-6', '7-12'].map(randomRuns)))) process.exit(1);
const { status } = spawnSync(node, ['src/main/prepare-e2e.ts'], { cwd: root, stdio: 'inherit' });
if (status === CANNOT_RUN) process.exit(0);
if (status !== 0) process.exit(status ?? 1);
run(['scripts/e2e.js']);

function run(args) {
  const { status } = spawnSync(node, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** The fixed set. */
function randomRuns(seeds) {
  const args = ['src/main/sim.ts', '--seeds', seeds, '--steps', '100'];
  return { name: `random runs of seeds ${seeds}`, program: node, args };
}
