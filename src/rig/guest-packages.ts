/**
 * The parts of the guest that come from distribution packages: the cloud kernel with a few modules, and the guest
 * agent with its libraries. The packages are downloaded and unpacked, never installed: the machine that runs the
 * rig must not get a second kernel or an agent of its own.
 *
 *   packages/
 *     vmlinuz  modules/<name>.ko  kernel-version  agent/usr/sbin/qemu-ga  agent/lib/...
 */
import { existsSync } from 'node:fs';
import {
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type RunOptions, run } from './command.ts';

export interface GuestPackages {
  readonly folder: string;
  readonly kernelVersion: string;
}

/**
 * Makes sure the unpacked parts are in `<cacheFolder>/packages`. Once there they are used as they are, without
 * asking the package archive again, so that the rig works offline and one kernel serves until the cache is deleted.
 *
 * @throws Error when a package cannot be had or a library of the agent is nowhere to be found.
 */
export async function ensureGuestPackages({
  cacheFolder,
  moduleNames,
  log,
  signal,
}: {
  cacheFolder: string;
  moduleNames: readonly string[];
  log: (line: string) => void;
  signal?: AbortSignal | undefined;
}): Promise<GuestPackages> {
  const folder = join(cacheFolder, 'packages');
  if (!hasAll(folder, moduleNames)) {
    log('Fetching the kernel and the guest agent of the test VM from the package archive');
    await mkdir(cacheFolder, { recursive: true });
    const work = await mkdtemp(join(cacheFolder, 'packages-'));
    try {
      await unpackKernel(work, moduleNames, { signal });
      await unpackAgent(work, { signal });
      await rm(folder, { recursive: true, force: true });
      await rename(join(work, 'result'), folder);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  return { folder, kernelVersion: await readFile(join(folder, 'kernel-version'), 'utf8') };
}

function hasAll(folder: string, moduleNames: readonly string[]): boolean {
  const wanted = ['vmlinuz', 'kernel-version', 'agent/usr/sbin/qemu-ga'];
  const modules = moduleNames.map((name) => `modules/${name}.ko`);
  return [...wanted, ...modules].every((path) => existsSync(join(folder, path)));
}

async function unpackKernel(
  work: string,
  moduleNames: readonly string[],
  options: RunOptions,
): Promise<void> {
  const names = await dependenciesOf('linux-image-cloud-amd64', options);
  const name = names.find((candidate) => /^linux-image-\d/.test(candidate));
  if (!name) throw new Error('linux-image-cloud-amd64 depends on no kernel package');
  const unpacked = join(work, 'kernel');
  await downloadAndUnpack([name], unpacked, options);
  const version = name.replace('linux-image-', '');
  const result = join(work, 'result');
  await mkdir(join(result, 'modules'), { recursive: true });
  await copyFile(join(unpacked, 'boot', `vmlinuz-${version}`), join(result, 'vmlinuz'));
  await copyModules(unpacked, join(result, 'modules'), moduleNames);
  await writeFile(join(result, 'kernel-version'), version);
}

async function copyModules(from: string, to: string, names: readonly string[]): Promise<void> {
  const files = await readdir(from, { recursive: true });
  for (const name of names) {
    const file = files.find((path) => basename(path) === `${name}.ko`);
    if (!file) throw new Error(`The kernel package has no module ${name}`);
    await copyFile(join(from, file), join(to, `${name}.ko`));
  }
}

async function unpackAgent(work: string, options: RunOptions): Promise<void> {
  const unpacked = join(work, 'agent');
  const program = join(unpacked, 'usr/sbin/qemu-ga');
  await downloadAndUnpack(['qemu-guest-agent'], unpacked, options);
  let libraries = await librariesOf(program, unpacked, options);
  if (libraries.includes(undefined)) {
    // This machine lacks some: they come from the packages the agent depends on.
    const needed = (await dependenciesOf('qemu-guest-agent', options)).filter(isLibraryPackage);
    await downloadAndUnpack(needed, unpacked, options);
    libraries = await librariesOf(program, unpacked, options);
  }
  const result = join(work, 'result', 'agent');
  await mkdir(join(result, 'usr/sbin'), { recursive: true });
  await copyFile(program, join(result, 'usr/sbin/qemu-ga'));
  for (const library of libraries) {
    if (library === undefined) throw new Error('A library of qemu-ga is missing on this machine');
    const place = join(
      result,
      library.startsWith(unpacked) ? library.slice(unpacked.length) : library,
    );
    await mkdir(dirname(place), { recursive: true });
    await cp(library, place, { dereference: true });
  }
}

function isLibraryPackage(name: string): boolean {
  return name.startsWith('lib') && name !== 'libc6';
}

/** Paths that the loader would use; undefined for each library that it does not find. */
async function librariesOf(
  program: string,
  root: string,
  options: RunOptions,
): Promise<(string | undefined)[]> {
  const folders = ['lib', 'usr/lib'].map((path) => join(root, path, 'x86_64-linux-gnu'));
  const env = { LD_LIBRARY_PATH: folders.join(':') };
  const lines = (await run('ldd', [program], { ...options, env })).split('\n');
  return lines
    .filter((line) => line.includes('/') || line.includes('not found'))
    .map((line) => /(\/\S+) \(0x/.exec(line)?.[1]);
}

async function dependenciesOf(name: string, options: RunOptions): Promise<string[]> {
  const query = () => run('apt-cache', ['depends', name], options);
  const output = await query().catch(() => refreshed(query, options));
  return [...output.matchAll(/^\s+\|?Depends: (\S+)$/gm)].map((match) => match[1] ?? '');
}

async function downloadAndUnpack(
  names: readonly string[],
  folder: string,
  options: RunOptions,
): Promise<void> {
  const downloads = await mkdtemp(`${folder}-debs-`);
  await mkdir(folder, { recursive: true });
  const download = () => run('apt-get', ['download', ...names], { ...options, cwd: downloads });
  await download().catch(() => refreshed(download, options));
  for (const file of await readdir(downloads)) {
    await run('dpkg-deb', ['-x', join(downloads, file), folder], options);
  }
}

/** Package lists that are absent or older than the archive make the first try fail. */
async function refreshed<T>(action: () => Promise<T>, options: RunOptions): Promise<T> {
  options.signal?.throwIfAborted();
  await run('apt-get', ['update'], options);
  return action();
}
