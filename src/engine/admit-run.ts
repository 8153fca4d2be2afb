/**
 * Admission of a run by its target: its folder is there, and its storage has room for what the run is expected to bring and the
 * reserve. A run that is refused has touched nothing at the source.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import { failbackHolding } from '../domain/failover/siblings.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { expectedBytes } from '../domain/replication/expected-need.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Run } from './make-point.ts';
import { retirePoints } from './retire-points.ts';
import { requireRoom, whyTooLittle } from './storage-room.ts';
import { tellFolder } from './tell-folder.ts';

type Candidate = Pick<Run, 'replica' | 'newest' | 'settings' | 'source' | 'target'>;

/** Throws `source-held` and `target-full`. */
export async function admitRun(
  ports: EnginePorts,
  context: OperationContext,
  run: Candidate,
  keepsReserve: boolean,
): Promise<void> {
  const tooLittle = await context.step<string | null>('prepare-target', {
    do: async (attempt) => {
      await requireSourceFree(ports.catalog, run.replica);
      const bytes = keepsReserve ? await neededBytes(ports, run, attempt) : null;
      const why = bytes === null ? null : await whyTooLittle(ports, run, bytes, attempt);
      if (why !== null) return why;
      // The freeze that comes next waits for the host of the source, and leaves the processor to others.
      if (bytes !== null) ports.mover.prepare(bytes);
      await tellFolder(ports.catalog, run.target, run.replica, attempt);
      return null;
    },
    undo: 'nothing',
  });
  if (tooLittle === null) return;
  await makeRoom(ports, context, run);
  await context.step<null>('find-room', {
    do: async (attempt) => {
      await requireRoom(ports, run, await neededBytes(ports, run, attempt), attempt);
      await tellFolder(ports.catalog, run.target, run.replica, attempt);
      return null;
    },
    undo: 'nothing',
  });
}

/** Throws `source-held`. */
export async function requireSourceFree(catalog: Catalog, replica: Replica): Promise<void> {
  const all = (await catalog.replicas()).map(({ value }) => value);
  const holding = failbackHolding(replica, all);
  if (holding === null) return;
  const details = { replica: holding.name, vm: replica.sourceVmName };
  throw new UnderstudyError('source-held', details);
}

/** Retention is applied after a run: without this, what it wants gone would keep every run from beginning. */
async function makeRoom(
  ports: EnginePorts,
  context: OperationContext,
  run: Candidate,
): Promise<void> {
  if (run.newest === null) return;
  const order = { supersedes: null, appliesRetention: true } as const;
  await context.part('make-room', 'operation', (part) => retirePoints(ports, part, run, order));
}

async function neededBytes(
  { catalog }: EnginePorts,
  { replica, newest, source }: Candidate,
  { signal }: CallOptions,
): Promise<number> {
  if (newest !== null) return expectedBytes(await catalog.points(replica.id));
  try {
    return (await source.hypervisor.allocatedBytes(replica.sourceVmId, { signal })) ?? 0;
  } catch (error) {
    const { kind } = asUnderstudyError(error);
    if (signal.aborted || kind === 'bug' || kind === 'cancelled') throw error;
    return 0; // the freeze finds out what is the matter with the source, and says it better
  }
}
