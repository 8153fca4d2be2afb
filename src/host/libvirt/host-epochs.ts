/**
 * The epochs that a host has heard of, as empty files whose names say it all: `<storage>/epochs/<replica>.<epoch>`. The highest
 * counts, lower ones are removed. A file is there or not, so nothing can be half written or set back, not even by two
 * controllers at once, and it takes no room on a full disk.
 */
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { ReplicaId } from '../../domain/ids.ts';
import type { HostEpochs } from '../../ports/host-epochs.ts';

export function createHostEpochs(storageFolder: string): HostEpochs {
  return {
    async admit({ replicaId, epoch }) {
      const current = await seenEpoch(storageFolder, replicaId).catch(() => 0);
      if (epoch < current) {
        throw new UnderstudyError('epoch-refused', { replica: replicaId, current, epoch });
      }
      if (epoch > current) await remember(storageFolder, replicaId, epoch).catch(() => {});
    },
  };
}

/** 0: it has heard of none. Throws what the file system does. */
export async function seenEpoch(storageFolder: string, replica: ReplicaId): Promise<number> {
  return Math.max(0, ...(await epochsOf(storageFolder, replica)));
}

async function epochsOf(storageFolder: string, replica: ReplicaId): Promise<readonly number[]> {
  const names = await readdir(folderOf(storageFolder)).catch(unless('ENOENT'));
  const own = (names ?? []).filter((name) => name.startsWith(`${replica}.`));
  // As we write them: `1e3` and `0x10` are numbers, too.
  const numbers = own.map((name) => name.slice(replica.length + 1)).filter((n) => /^\d+$/.test(n));
  return numbers.map(Number).filter(Number.isSafeInteger);
}

/** Durable before it resolves. */
async function remember(storageFolder: string, replica: ReplicaId, epoch: number): Promise<void> {
  const folder = folderOf(storageFolder);
  await mkdir(folder, { mode: 0o700 }).catch(unless('EEXIST'));
  await (await open(join(folder, `${replica}.${epoch}`), 'a', 0o600)).close();
  await using made = await open(folder);
  await made.sync();
  const older = (await epochsOf(storageFolder, replica)).filter((each) => each < epoch);
  await Promise.all(older.map((each) => rm(join(folder, `${replica}.${each}`), { force: true })));
}

function unless(code: string): (error: unknown) => null {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === code) return null;
    throw error;
  };
}

function folderOf(storageFolder: string): string {
  return join(storageFolder, 'epochs');
}
