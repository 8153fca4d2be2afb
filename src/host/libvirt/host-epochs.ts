/**
 * The epochs that a host has heard of, as empty files whose names say it all: `<storage>/epochs/<replica>.<epoch>`. The highest
 * counts, lower ones are removed. A file is there or not, so nothing can be half written or set back, not even by two
 * controllers at once, and it takes no room on a full disk.
 */
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { ReplicaId } from '../../domain/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { HostEpochs } from '../../ports/host-epochs.ts';

export type EpochNotes = {
  /** 0: it has heard of none. Throws what the file system does. */
  seen(replica: ReplicaId): Promise<number>;
  /** Durable before it resolves. */
  remember(replica: ReplicaId, epoch: number): Promise<void>;
};

/** Notes are one entry in a folder: what takes longer comes of a storage that hangs, as one over a network does. */
const PATIENCE_MS = 2_000;

export function createHostEpochs({
  notes,
  clock,
}: {
  readonly notes: EpochNotes;
  readonly clock: Clock;
}): HostEpochs {
  /** Every question to a storage that hangs takes a thread of ours, of which there are few. */
  let isHanging = false;

  /** Null: it cannot tell, or not in time. */
  const inTime = async <T>(asked: Promise<T>): Promise<T | null> => {
    const answered = new AbortController();
    const answer = asked
      .catch(() => null)
      .finally(() => {
        answered.abort();
        isHanging = false;
      });
    const late = clock.sleep(PATIENCE_MS, { signal: answered.signal }).then(
      () => {
        isHanging = !answered.signal.aborted;
        return null;
      },
      () => answer,
    );
    return Promise.race([answer, late]);
  };

  return {
    async admit({ replicaId, epoch }) {
      if (isHanging) return;
      const current = await inTime(notes.seen(replicaId));
      if (current !== null && epoch < current) {
        throw new UnderstudyError('epoch-refused', { replica: replicaId, current, epoch });
      }
      if (!isHanging && epoch > (current ?? 0)) await inTime(notes.remember(replicaId, epoch));
    },
  };
}

export function epochNotes(storageFolder: string): EpochNotes {
  return {
    seen: (replica) => seenEpoch(storageFolder, replica),
    remember: (replica, epoch) => remember(storageFolder, replica, epoch),
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
