/**
 * State of a VM outside its disks: the firmware's variables and the contents of an emulated TPM.
 *
 * Both are files of libvirt, read beside the hypervisor. Firmware variables change only when the guest sets one, in place and
 * in several writes: so they are read until two readings are equal.
 * swtpm replaces its file by renaming, so a copy is always one whole state.
 */
import { copyFile, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { Processes } from '../../ports/processes.ts';
import { isThere } from '../is-there.ts';
import { syncFolder, syncTree, syncWithName } from './sync.ts';
import { attribute, child, find, parseRoot, textOf, type XmlElement } from './xml.ts';

/** Where a system daemon keeps TPM state: `<folder>/<VM's UUID>/tpm2/`. */
const SWTPM_FOLDER = '/var/lib/libvirt/swtpm';

/** Setting a variable takes milliseconds; reading all of them less than one. */
const READINGS_MAX = 10;

export type SidecarTools = {
  readonly processes: Processes;
  /** Without it, that of a system daemon. */
  readonly swtpmFolder?: string;
};

/**
 * Copies the VM's sidecars into `folder`, which exists: `nvram` and `tpm.tar`. One that does not exist yet (a VM never
 * started) is left out. Repeated, it overwrites. Throws `access-denied`, `invalid-vm-configuration`.
 */
export async function collectSidecars(
  tools: SidecarTools,
  { vm, folder }: { readonly vm: VmDescription; readonly folder: string },
  options: CallOptions,
): Promise<Sidecar[]> {
  const domain = parseRoot(vm.configuration.text, 'domain', vm.name);
  const sidecars: Sidecar[] = [];
  const nvram = nvramPath(domain);
  if (nvram !== null && (await exists(nvram))) {
    const path = join(folder, 'nvram');
    const variables = await settledContent(nvram).catch(denied(nvram));
    await writeFile(path, variables, { mode: 0o600 }).catch(denied(path));
    sidecars.push({ name: 'nvram', path });
  }
  const state = tpmFolder(tools, domain, vm.id);
  if (state !== null && (await exists(state))) {
    const path = join(folder, 'tpm.tar');
    const content = ['--directory', state, '.'];
    await archiveTpm(tools.processes, { path, content, state }, options);
    sidecars.push({ name: 'tpm', path });
  }
  return sidecars;
}

/** Copies the firmware's variables to where the definition will point. Durable when it resolves. */
export async function placeVariables(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await syncWithName(to);
}

/**
 * Unpacks TPM state for the VM that is about to be defined; libvirt gives it to its own user when the VM starts. A
 * replica's firmware variables need no placing: its definition points at the file itself. Durable when it resolves: whoever
 * kept the archive may then give it up. Throws `access-denied`.
 */
export async function placeTpm(
  tools: SidecarTools,
  { sidecars, vmId, text }: { sidecars: readonly Sidecar[]; vmId: VmId; text: string },
  options: CallOptions,
): Promise<void> {
  const sidecar = sidecars.find(({ name }) => name === 'tpm');
  const state = tpmFolder(tools, parseRoot(text, 'domain', vmId), vmId);
  if (sidecar === undefined || state === null) return;
  // Of the state before nothing may stay: a file more, and the chip would wake up as another one.
  await rm(state, { recursive: true, force: true }).catch(denied(state));
  await mkdir(state, { recursive: true, mode: 0o711 }).catch(denied(state));
  const args = ['--extract', '--file', sidecar.path, '--directory', state, '--no-same-owner'];
  await tar(tools.processes, args, { path: state, options });
  await syncState(tools, state).catch(denied(state));
}

/** Its own names, and those of the folders down to it, which may be new. */
async function syncState(
  { swtpmFolder = SWTPM_FOLDER }: SidecarTools,
  state: string,
): Promise<void> {
  await syncTree(state);
  await syncFolder(dirname(state));
  await syncFolder(swtpmFolder);
}

/** Sets the VM's own TPM state aside, once: what is there later came from elsewhere. None is kept, too, as an empty archive. Durable when it resolves. */
export async function keepTpm(
  tools: SidecarTools,
  { vmId, text, path }: { readonly vmId: VmId; readonly text: string; readonly path: string },
  options: CallOptions,
): Promise<void> {
  const state = tpmFolder(tools, parseRoot(text, 'domain', vmId), vmId);
  if (state === null || (await exists(path))) return;
  const content = (await exists(state))
    ? ['--directory', state, '.']
    : ['--files-from', '/dev/null'];
  await archiveTpm(tools.processes, { path: `${path}.new`, content, state }, options);
  await rename(`${path}.new`, path).catch(denied(path));
  await syncFolder(dirname(path)).catch(denied(path));
}

/**
 * Puts back what `keepTpm` set aside; nothing set aside, or a VM that is gone (`text` null), is success. Throws
 * `access-denied`, also for an archive that cannot be read: it may be all that is left, so it and the state stay.
 */
export async function restoreTpm(
  tools: SidecarTools,
  {
    vmId,
    text,
    path,
  }: { readonly vmId: VmId; readonly text: string | null; readonly path: string },
  options: CallOptions,
): Promise<void> {
  if (text === null || !(await exists(path))) return;
  const listed = await tar(tools.processes, ['--list', '--file', path], { path, options });
  const state = tpmFolder(tools, parseRoot(text, 'domain', vmId), vmId);
  if (state !== null) await rm(state, { recursive: true, force: true }).catch(denied(state));
  // An empty folder would keep libvirt from setting up a new chip.
  if (listed !== '') {
    await placeTpm(tools, { sidecars: [{ name: 'tpm', path }], vmId, text }, options);
  }
  await rm(path, { force: true }).catch(denied(path));
}

/** Where the firmware's variables are; null without such firmware. */
export function nvramPath(domain: XmlElement): string | null {
  const nvram = find(domain, 'os/nvram');
  if (nvram === null) return null;
  return attribute(child(nvram, 'source'), 'file') ?? (textOf(nvram) || null);
}

/** A guest that never stops setting variables gets the last reading: firmware recovers from a write that was cut off. */
async function settledContent(path: string): Promise<Buffer> {
  let previous = await readFile(path);
  for (let reading = 1; reading < READINGS_MAX; reading += 1) {
    const content = await readFile(path);
    if (content.equals(previous)) return content;
    previous = content;
  }
  return previous;
}

function tpmFolder({ swtpmFolder }: SidecarTools, domain: XmlElement, id: VmId): string | null {
  const backend = find(domain, 'devices/tpm/backend');
  if (attribute(backend, 'type') !== 'emulator') return null;
  const version = attribute(backend, 'version') === '1.2' ? 'tpm1.2' : 'tpm2';
  return join(swtpmFolder ?? SWTPM_FOLDER, id, version);
}

/** Durable when it resolves, and for nobody else to read: a TPM holds the keys of its guest. */
async function archiveTpm(
  processes: Processes,
  {
    path,
    content,
    state,
  }: { readonly path: string; readonly content: readonly string[]; readonly state: string },
  options: CallOptions,
): Promise<void> {
  // tar leaves a file that is there its rights.
  await rm(path, { force: true }).catch(denied(path));
  await using archive = await open(path, 'wx', 0o600).catch(denied(path));
  const args = ['--create', '--file', path, '--exclude=.lock', ...content];
  await tar(processes, args, { path: state, options });
  await archive.sync();
}

/** What it prints. */
async function tar(
  processes: Processes,
  args: readonly string[],
  { path, options }: { path: string; options: CallOptions },
): Promise<string> {
  const command = { command: 'tar', arguments: args };
  const { exitCode, stdout, stderr } = await processes.run(command, options);
  if (exitCode !== 0) return denied(path)(new Error(stderr.trim().split('\n').at(-1)));
  return stdout;
}

function exists(path: string): Promise<boolean> {
  return isThere(path).catch(denied(path));
}

function denied(path: string): (cause: unknown) => never {
  return (cause) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = `Let the host agent run as root, or as a user that may read and write ${path}.`;
    throw new UnderstudyError('access-denied', { path, who: 'the host agent', reason, fix }, cause);
  };
}
