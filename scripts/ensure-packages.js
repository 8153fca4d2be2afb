// Plain JavaScript for any Node >= 18: brings the npm packages, among them the Node that runs the rest.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The path of a Node 24 or newer; runs `npm ci` first when the installed packages are not those of the lock file. */
export function ensurePackages() {
  const own = `${root}node_modules/node/bin/node`;
  if (!existsSync(own) || !isCurrent()) {
    process.stdout.write('Installing npm packages (npm ci) ...\n');
    const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
      cwd: root,
      stdio: 'inherit',
    });
    if (status !== 0) process.exit(status ?? 1);
  }
  return own;
}

function isCurrent() {
  const installed = `${root}node_modules/.package-lock.json`;
  if (!existsSync(installed)) return false;
  const versions = (path) => {
    const { packages } = JSON.parse(readFileSync(path, 'utf8'));
    return new Map(Object.entries(packages).map(([name, entry]) => [name, entry.version]));
  };
  const have = versions(installed);
  return [...versions(`${root}package-lock.json`)].every(
    ([name, version]) => name === '' || have.get(name) === version || isForOtherMachine(name),
  );
}

/** Optional packages for other systems are in the lock file but never installed here. */
function isForOtherMachine(name) {
  const { packages } = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8'));
  return packages[name]?.optional === true;
}
