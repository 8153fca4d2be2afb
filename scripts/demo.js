// `npm run demo [-- --keep]`: brings the npm packages if they are missing or stale, then plays the demo on the Node
// that is among them. Plain JavaScript for any Node >= 18.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './ensure-packages.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const demo = spawn(ensurePackages(), ['src/main/demo.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
});
demo.on('error', (error) => {
  process.stderr.write(`The demo cannot be started: ${error.message}\n`);
  process.exitCode = 1;
});
demo.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
// It cleans up when it is interrupted, and we wait for that.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => demo.kill(name));
