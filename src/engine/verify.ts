/** Verify: reads a restore point back from the target's storage, block by block, against its recorded hashes. */
import { UnderstudyError } from '../domain/error.ts';
import { pointId, replicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition, StepAttempt } from '../ports/durable.ts';
import type { VerifyResult } from '../ports/mover.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn, textsIn } from './input.ts';
import { whileRegistered } from './registered-reading.ts';
import { loadReplica } from './replica-facts.ts';

type DiskVerdict = VerifyResult & { readonly key: string };

export function verifyDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'verify',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const { replica } = await loadReplica(ports, context, id, 'verify');
      const verdicts: PointVerdict[] = [];
      for (const text of textsIn(input, 'pointIds')) {
        const point = pointId(text);
        const name = `read-back-${point}`;
        const disks = await whileRegistered(context, { name, replica }, (key) =>
          context.step<readonly DiskVerdict[]>(name, {
            do: ({ signal }) => readBack(ports, context, replica, point, { key, signal }),
            undo: ({ signal }) => stopReading(ports, replica, { key, signal }),
          }),
        );
        verdicts.push({
          pointId: point,
          disks,
          isSound: disks.every((disk) => disk.wrongBlockCount === 0),
        });
      }
      await recordVerdict(ports, context, replica, verdicts);
      return { points: verdicts, isSound: verdicts.every((point) => point.isSound) };
    },
  };
}

type Begun = Pick<StepAttempt, 'key' | 'signal'>;

type PointVerdict = {
  readonly pointId: string;
  readonly disks: readonly DiskVerdict[];
  readonly isSound: boolean;
};

async function readBack(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
  point: ReturnType<typeof pointId>,
  { key, signal }: Begun,
): Promise<readonly DiskVerdict[]> {
  const { store } = await ports.hosts.ports(replica.targetHostId);
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  const disks = await store.openReading({ ...command, of: { pointId: point } }, { signal });
  try {
    const verdicts: DiskVerdict[] = [];
    for (const { key: disk, sizeBytes, endpoint, hashesPath } of disks) {
      if (hashesPath === null)
        throw new UnderstudyError('point-missing', { replica: replica.id, point });
      const result = await ports.mover.verify(
        { endpoint, sizeBytes, hashesPath },
        { signal, onProgress: (progress) => context.progress({ ...progress, step: 'read-back' }) },
      );
      verdicts.push({ ...result, key: disk });
    }
    return verdicts;
  } finally {
    await store.closeReading(command, { signal: new AbortController().signal });
  }
}

/** A controller that died while it read, and was told to cancel when it came back, leaves the reading open. */
async function stopReading(
  ports: EnginePorts,
  { id, targetHostId, epoch }: Replica,
  { key, signal }: Begun,
): Promise<void> {
  const { store } = await ports.hosts.ports(targetHostId);
  await store.closeReading({ key, replicaId: id, epoch }, { signal });
}

async function recordVerdict(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
  verdicts: readonly PointVerdict[],
): Promise<void> {
  const isEveryPoint = await context.step<boolean>('compare-points', {
    do: async () => {
      const all = await ports.catalog.points(replica.id);
      return all.every(({ id }) => verdicts.some(({ pointId: read }) => read === id));
    },
    undo: 'nothing',
  });
  const now = await context.now('verified-at');
  const changes = verdict(replica, verdicts, isEveryPoint, now);
  await context.record('record-verdict', changes, { undo: 'nothing' });
}

/** One sound point says nothing about the others: only when every one was read is the condition cleared. */
function verdict(
  replica: Replica,
  points: readonly PointVerdict[],
  isEveryPoint: boolean,
  since: Instant,
): readonly CatalogChange[] {
  const wrong = points.filter((point) => !point.isSound).map((point) => point.pointId);
  if (wrong.length === 0) {
    const cleared = {
      type: 'condition-cleared',
      replicaId: replica.id,
      name: 'unverified',
    } as const;
    return isEveryPoint ? [cleared] : [];
  }
  const message =
    `Restore points do not read back as they were written: ${wrong.join(', ')}. ` +
    'Do not fail over to them; check the storage, then run a rescan.';
  const condition = { name: 'unverified', message, since } as const;
  return [{ type: 'condition-raised', replicaId: replica.id, condition }];
}
