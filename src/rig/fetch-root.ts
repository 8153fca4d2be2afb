/**
 * Fetches another libvirt and QEMU from the distribution into a folder, without installing anything: for running the
 * end-to-end tests against versions that this machine does not have (with-root.ts, CONTRIBUTING.md).
 *
 *   node src/rig/fetch-root.ts SUITE FOLDER         e.g. bookworm-backports .cache/backports
 *
 * The machine's own package sources are used, with the suite added in private package lists. Libraries that the programs
 * need beyond these packages come from the machine: a suite for the same release of the distribution is needed.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { run } from './command.ts';

/** All programs, drivers, firmware and tables that a host of ours uses; newer libvirt has more packages than older. */
const PACKAGES = [
  ...['libvirt0', 'libvirt-common', 'libvirt-clients', 'libvirt-daemon', 'libvirt-daemon-common'],
  ...['libvirt-daemon-driver-network', 'libvirt-daemon-driver-nodedev'],
  ...['libvirt-daemon-driver-nwfilter', 'libvirt-daemon-driver-qemu'],
  ...['libvirt-daemon-driver-secret', 'libvirt-daemon-driver-storage'],
  ...['libvirt-daemon-log', 'libvirt-daemon-system'],
  ...['qemu-system-x86', 'qemu-system-common', 'qemu-system-data', 'qemu-utils', 'seabios'],
];

const [suite, folder] = process.argv.slice(2);
if (suite === undefined || folder === undefined) {
  console.error('usage: node src/rig/fetch-root.ts SUITE FOLDER');
  process.exitCode = 64;
} else if (existsSync(folder)) {
  console.error(`${folder} is there already`);
  process.exitCode = 73;
} else {
  await fetchRoot(suite, resolve(folder));
}

async function fetchRoot(wanted: string, target: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'rig-root-'));
  try {
    const apt = await privateApt(work, wanted);
    await run('apt-get', [...apt, 'update']);
    const downloads = join(work, 'debs');
    await mkdir(downloads);
    const names = PACKAGES.map((name) => `${name}/${wanted}`);
    await run('apt-get', [...apt, 'download', ...names], { cwd: downloads });
    await mkdir(`${target}.new`, { recursive: true });
    for (const file of await readdir(downloads)) {
      await run('dpkg-deb', ['-x', join(downloads, file), `${target}.new`]);
      console.log(decodeURIComponent(file));
    }
    await rename(`${target}.new`, target);
  } finally {
    await rm(`${target}.new`, { recursive: true, force: true });
    await rm(work, { recursive: true, force: true });
  }
}

/** Options with which apt leaves the machine's own lists alone. */
async function privateApt(work: string, wanted: string): Promise<readonly string[]> {
  const sources = join(work, 'sources');
  const folders = [sources, join(work, 'lists', 'partial'), join(work, 'archives', 'partial')];
  for (const path of folders) await mkdir(path, { recursive: true });
  const places = ['/etc/apt/sources.list', ...(await sourceParts())];
  for (const place of places.filter((path) => existsSync(path))) {
    const text = await readFile(place, 'utf8');
    await writeFile(join(sources, basename(place)), withSuite(text, wanted));
  }
  const settings = {
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': sources,
    'Dir::State::lists': join(work, 'lists'),
    'Dir::Cache': work,
    // Its own user may not enter our folder.
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

async function sourceParts(): Promise<readonly string[]> {
  const parts = '/etc/apt/sources.list.d';
  const names = await readdir(parts).catch(() => []);
  return names.filter((name) => /\.(?:list|sources)$/.test(name)).map((name) => join(parts, name));
}

/** sources.list(5): both styles. `bookworm-backports` is added wherever `bookworm` itself is. */
function withSuite(text: string, wanted: string): string {
  const release = wanted.replace(/-.*$/, '');
  return text
    .split('\n')
    .flatMap((line) => {
      const words = line.split(/\s+/);
      if (!words.includes(release)) return [line];
      if (line.startsWith('Suites:')) return [`${line} ${wanted}`];
      return [line, words.map((word) => (word === release ? wanted : word)).join(' ')];
    })
    .join('\n');
}
