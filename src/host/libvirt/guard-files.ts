/**
 * The guards of a host: a file for each VM that may not start, per replica. That the file is there is what counts for the
 * hook; its first line is what it tells, the second is what we remember.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import type { HeldVm } from '../../domain/failover/start-guard.ts';
import { type ReplicaId, replicaId, type VmId, vmId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { moment } from '../file-parsing.ts';
import { codeOf, writable, writeThrough } from './guard-hook.ts';
import { syncFolder } from './sync.ts';

const NAME =
  /^(?<vm>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?<replica>[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)$/;

const remembered = z.object({
  epoch: z.int().nonnegative(),
  since: moment,
});

/** Null: there is no such folder. */
export async function readGuards(folder: string): Promise<readonly HeldVm[] | null> {
  let names: readonly string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
    throw error;
  }
  const guards: HeldVm[] = [];
  for (const name of [...names].sort()) {
    const { vm, replica } = NAME.exec(name)?.groups ?? {};
    if (vm === undefined || replica === undefined) continue;
    const guard = await readGuard(folder, { vmId: vmId(vm), replicaId: replicaId(replica) });
    if (guard !== null) guards.push(guard);
  }
  return guards;
}

type Held = { readonly vmId: VmId; readonly replicaId: ReplicaId };

/**
 * A damaged one holds its VM all the same, so it is told; of epoch 0 it gives way to any other. What is no file holds
 * nobody: the hook passes over it.
 */
export async function readGuard(folder: string, held: Held): Promise<HeldVm | null> {
  let text: string;
  try {
    text = await readFile(pathOf(folder, held), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'EISDIR') return null;
    throw error;
  }
  const [reason = '', memory = ''] = text.split('\n');
  const parsed = remembered.safeParse(jsonOf(memory));
  if (!parsed.success) return { ...held, epoch: 0, since: instant(0), reason };
  return { ...held, ...parsed.data, reason };
}

/** Throws `epoch-refused`, `access-denied`. */
export async function writeGuard(folder: string, { reason, epoch, since, ...held }: HeldVm) {
  await admit(folder, { ...held, epoch });
  const name = nameOf(held);
  const text = `${reason.replaceAll('\n', ' ')}\n${JSON.stringify({ epoch, since })}\n`;
  await writable(folder, async () => {
    // The hook looks for names that begin with a UUID.
    await writeThrough(join(folder, `.new-${name}`), join(folder, name), text);
    await syncFolder(folder);
  });
}

/** Throws `epoch-refused`, `access-denied`. */
export async function removeGuard(
  folder: string,
  { epoch, ...held }: Held & { readonly epoch: number },
): Promise<void> {
  if (!(await admit(folder, { ...held, epoch }))) return;
  await writable(folder, async () => {
    await rm(pathOf(folder, held), { force: true });
    await syncFolder(folder);
  });
}

async function admit(
  folder: string,
  { epoch, ...held }: Held & { readonly epoch: number },
): Promise<boolean> {
  const present = await readGuard(folder, held);
  if (present === null || present.epoch <= epoch) return present !== null;
  const details = { replica: held.replicaId, current: present.epoch, epoch };
  throw new UnderstudyError('epoch-refused', details);
}

function nameOf({ vmId: vm, replicaId: replica }: Held): string {
  const name = `${vm}.${replica}`;
  if (!NAME.test(name)) throw new UnderstudyError('invalid-id', { what: 'guard', value: name });
  return name;
}

function pathOf(folder: string, held: Held): string {
  return join(folder, nameOf(held));
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // damaged: told by whoever reads it
  }
}
