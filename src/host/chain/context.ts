import { UnderstudyError } from '../../domain/error.ts';
import type { ReplicaId } from '../../domain/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Mover } from '../../ports/mover.ts';
import type { StoreCommand } from '../../ports/replica-store.ts';
import type { ImageServer } from './image-server.ts';
import type { Images } from './images.ts';
import { type ReplicaLayout, replicaLayout } from './layout.ts';
import { type ReplicaRecord, readRecord, requireRecord, writeRecord } from './record.ts';

/** What every command of the store works with. */
export type StoreContext = {
  readonly storageFolder: string;
  readonly images: Images;
  readonly server: ImageServer;
  readonly clock: Clock;
  /** Null: layers that were changed by others cannot be read again, only dropped. */
  readonly verifier: Pick<Mover, 'verify'> | null;
  /** The time since the kernel started: what was not flushed within it may be lost after it. */
  readonly bootId: () => Promise<string>;
  /** Called at every line where dying must do no harm; tests throw here. */
  readonly crashPoint: (name: string) => void;
};

export function layoutOf(context: StoreContext, replicaId: ReplicaId): ReplicaLayout {
  return replicaLayout(context.storageFolder, replicaId);
}

/**
 * The record, with the command's epoch remembered as the highest seen. Every command that changes anything
 * begins here. Throws `replica-missing`, `epoch-refused`, `invalid-file`.
 */
export async function admit(layout: ReplicaLayout, command: StoreCommand): Promise<ReplicaRecord> {
  const record = await requireRecord(layout);
  checkEpoch(record, command);
  if (record.epoch === command.epoch) return record;
  const raised = { ...record, epoch: command.epoch };
  await writeRecord(layout, raised);
  return raised;
}

export async function epochOf(context: StoreContext, replicaId: ReplicaId): Promise<number | null> {
  const record = await readRecord(layoutOf(context, replicaId));
  return record?.epoch ?? null;
}

export function checkEpoch(record: ReplicaRecord, command: StoreCommand): void {
  if (command.epoch >= record.epoch) return;
  throw new UnderstudyError('epoch-refused', {
    replica: command.replicaId,
    current: record.epoch,
    epoch: command.epoch,
  });
}

/** Sessions are named after what they serve, so that a repeated command finds them. */
export const sessionName = {
  ofPartial: (replicaId: string, pointId: string) => `${replicaId}/partial/${pointId}`,
  ofReading: (replicaId: string, key: string) => `${replicaId}/reading/${key}`,
  ofExport: (replicaId: string, exportId: string) => `${replicaId}/export/${exportId}`,
  ofRepair: (replicaId: string) => `${replicaId}/repair/`,
  allOf: (replicaId: string) => `${replicaId}/`,
};
