/**
 * What a test leaves to look at: a picture of the screen and the end of what the serial console said. Bounded in size
 * and number; older tests give way.
 *
 *   <storage>/.evidence/<test>/screen.png serial.txt      kept
 *                              serial.raw                 while the VM exists: QEMU writes it
 */
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { EvidenceFile } from '../../domain/test-failover/point-test.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ObservedTest, TestId } from '../../ports/test-bench.ts';
import { hasCode } from './errors.ts';
import { readDefinition } from './inspect.ts';
import { pngOf } from './png.ts';
import { hasConsole } from './test-xml.ts';
import type { Virsh } from './virsh.ts';

const TESTS_KEPT = 50;
const PICTURE_BYTES_MAX = 4 * 1024 * 1024;
const PIXMAP_BYTES_MAX = 128 * 1024 * 1024;
const CONSOLE_BYTES_MAX = 64 * 1024;
/** A guest that never stops talking must not fill the storage of its replicas. */
const RAW_BYTES_MAX = 8 * 1024 * 1024;
const FILES = { 'screen.png': 'image/png', 'serial.txt': 'text/plain' } as const;

export type EvidencePlace = { readonly storageFolder: string; readonly testId: TestId };

function folderOf({ storageFolder, testId }: EvidencePlace): string {
  return join(storageFolder, '.evidence', testId);
}

export function rawConsolePath(place: EvidencePlace): string {
  return join(folderOf(place), 'serial.raw');
}

/** Makes the file that QEMU, another user, will append to; in a folder whose name nobody can guess. */
export async function prepareEvidence(place: EvidencePlace): Promise<void> {
  await mkdir(folderOf(place), { recursive: true, mode: 0o711 });
  await chmod(join(place.storageFolder, '.evidence'), 0o711);
  const path = rawConsolePath(place);
  await writeFile(path, '', { flag: 'a' });
  await chmod(path, 0o666);
}

/** Called now and then while the VM runs. */
export async function boundConsole(place: EvidencePlace): Promise<void> {
  const path = rawConsolePath(place);
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > RAW_BYTES_MAX) await truncate(path);
}

export async function collectEvidence(
  virsh: Virsh,
  place: EvidencePlace,
  vmId: VmId,
  options: CallOptions,
): Promise<ObservedTest> {
  await mkdir(folderOf(place), { recursive: true, mode: 0o711 });
  const missing = [
    await keepPicture(virsh, place, vmId, options),
    await keepConsole(virsh, place, vmId, options),
  ];
  await dropOldEvidence(place.storageFolder);
  return {
    files: await evidenceFiles(place),
    missing: missing.filter((reason) => reason !== null),
  };
}

async function keepPicture(
  virsh: Virsh,
  place: EvidencePlace,
  vmId: VmId,
  options: CallOptions,
): Promise<string | null> {
  const pixmap = join(folderOf(place), 'screen.raw');
  try {
    await virsh.run(['screenshot', '--', vmId, pixmap], options);
    if ((await stat(pixmap)).size > PIXMAP_BYTES_MAX) return 'The screen is too large to be kept.';
    const png = pngOf(await readFile(pixmap));
    if (png === null) return 'The picture of the screen is in a form that is not known.';
    if (png.length > PICTURE_BYTES_MAX) return 'The picture of the screen is too large to be kept.';
    await writeFile(join(folderOf(place), 'screen.png'), png, { mode: 0o600 });
    return null;
  } catch (error) {
    if (!hasCode(error, 'hypervisor-refused')) throw error;
    return `There is no picture of the screen: ${String(error.details.reason)}.`;
  } finally {
    await rm(pixmap, { force: true });
  }
}

async function keepConsole(
  virsh: Virsh,
  place: EvidencePlace,
  vmId: VmId,
  options: CallOptions,
): Promise<string | null> {
  if (!hasConsole(await readDefinition(virsh, vmId, options), vmId)) {
    return 'The VM has no serial port.';
  }
  const text = printable(await tailOf(rawConsolePath(place)));
  if (text.trim() === '') return 'The serial console said nothing.';
  await writeFile(join(folderOf(place), 'serial.txt'), text, { mode: 0o600 });
  return null;
}

async function tailOf(path: string): Promise<string> {
  const file = await open(path).catch(() => null);
  if (file === null) return '';
  try {
    const { size } = await file.stat();
    const length = Math.min(size, CONSOLE_BYTES_MAX);
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(length),
      0,
      length,
      Math.max(0, size - length),
    );
    return buffer.subarray(0, bytesRead).toString('utf8');
  } finally {
    await file.close();
  }
}

/** The guest's own words, without what would steer the terminal of whoever reads them. */
export function printable(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
      .replace(/\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|.)/g, '')
      .replace(/\r+\n/g, '\n')
      .replace(/\r/g, '\n')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
      .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '')
  );
}

async function evidenceFiles(place: EvidencePlace): Promise<readonly EvidenceFile[]> {
  const files: EvidenceFile[] = [];
  for (const name of Object.keys(FILES) as (keyof typeof FILES)[]) {
    const found = await stat(join(folderOf(place), name)).catch(() => null);
    if (found !== null) files.push({ name, type: FILES[name], bytes: found.size });
  }
  return files;
}

/** Throws `evidence-missing`. */
export async function readEvidence(place: EvidencePlace, name: string): Promise<string> {
  const isKnown = Object.hasOwn(FILES, name) && /^[a-z0-9-]{1,64}$/.test(place.testId);
  const content = isKnown ? await readFile(join(folderOf(place), name)).catch(() => null) : null;
  if (content !== null) return content.toString('base64');
  throw new UnderstudyError('evidence-missing', { test: place.testId, name });
}

/** The VM is gone: so is what it wrote itself, and a folder without anything to look at. */
export async function releaseEvidence(place: EvidencePlace): Promise<void> {
  await rm(rawConsolePath(place), { force: true });
  await rm(join(folderOf(place), 'screen.raw'), { force: true });
  if ((await evidenceFiles(place)).length === 0) {
    await rm(folderOf(place), { recursive: true, force: true });
  }
}

async function dropOldEvidence(storageFolder: string): Promise<void> {
  const folder = join(storageFolder, '.evidence');
  const names = await readdir(folder).catch((): string[] => []);
  const dated = await Promise.all(
    names.map(async (name) => {
      const found = await stat(join(folder, name)).catch(() => null);
      const hasVm = await stat(join(folder, name, 'serial.raw')).then(
        () => true,
        () => false,
      );
      return { name, at: found?.mtimeMs ?? 0, hasVm };
    }),
  );
  const old = dated.filter(({ hasVm }) => !hasVm).sort((a, b) => b.at - a.at);
  for (const { name } of old.slice(TESTS_KEPT)) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
