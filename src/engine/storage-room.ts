/**
 * The room in the target's storage while a run is made: asked before anything is frozen, and watched while blocks are
 * copied, so that replication ends at the reserve and not at the last byte.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { Host } from '../domain/host/host.ts';
import { LOOK_MS_MAX, lookAgainMs, tooLittleRoom, whyNoRoom } from '../domain/host/storage-room.ts';
import type { CallOptions } from '../ports/call.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Run } from './make-point.ts';

type Storage = Pick<Run, 'replica' | 'target'>;

/** Why a run that needs so much must not begin now; null: it may. */
export async function whyTooLittle(
  ports: EnginePorts,
  storage: Storage,
  neededBytes: number,
  options: CallOptions,
): Promise<string | null> {
  const host = await storageHost(ports, storage);
  return whyNoRoom(host, await storage.target.store.room(options), neededBytes);
}

/** Throws `target-full` when a run that needs so much must not begin. */
export async function requireRoom(
  ports: EnginePorts,
  storage: Storage,
  neededBytes: number,
  options: CallOptions,
): Promise<void> {
  const reason = await whyTooLittle(ports, storage, neededBytes, options);
  if (reason !== null) throw tooLittleRoom(await storageHost(ports, storage), reason);
}

/** Does the work as long as a reserve that it keeps is untouched; then it is stopped, and the error is `target-full`. */
export async function whileRoomLasts<T>(
  ports: EnginePorts,
  storage: Storage & Pick<Run, 'keepsReserve'>,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (!storage.keepsReserve) return work(signal);
  const stopWork = new AbortController();
  const stopWatch = new AbortController();
  const host = await storageHost(ports, storage);
  // Never awaited: a storage that hangs does not answer the watch, either, and the work must be able to end.
  watch(ports, { host, store: storage.target.store }, stopWatch.signal).then(
    (reason) => stopWork.abort(tooLittleRoom(host, reason)),
    (error: unknown) => (stopWatch.signal.aborted ? undefined : stopWork.abort(error)),
  );
  try {
    return await work(AbortSignal.any([signal, stopWork.signal]));
  } catch (error) {
    throw stopWork.signal.aborted && !signal.aborted ? stopWork.signal.reason : error;
  } finally {
    stopWatch.abort();
  }
}

/** Looks until there is too little room, and says why. */
async function watch(
  { clock }: EnginePorts,
  { host, store }: { readonly host: Host } & Pick<HostViews, 'store'>,
  signal: AbortSignal,
): Promise<string> {
  for (;;) {
    const room = await store.room({ signal }).catch(unlessBug);
    const reason = room === null ? null : whyNoRoom(host, room, 0);
    if (reason !== null) return reason;
    await clock.sleep(room === null ? LOOK_MS_MAX : lookAgainMs(host, room), { signal });
  }
}

/** No answer says nothing about room, and whether the host is away the copying itself finds out. */
function unlessBug(error: unknown): null {
  if (asUnderstudyError(error).kind === 'bug') throw error;
  return null;
}

/** The mover knows a full target only by its endpoint, a socket that says nothing to whoever must make room. */
export async function nameFullStorage(
  ports: EnginePorts,
  storage: Storage,
  error: unknown,
): Promise<never> {
  if (!(error instanceof UnderstudyError) || error.code !== 'target-full') throw error;
  throw tooLittleRoom(await storageHost(ports, storage), String(error.details.reason), error);
}

async function storageHost({ catalog }: EnginePorts, { replica }: Storage): Promise<Host> {
  const host = await catalog.host(replica.targetHostId);
  if (host !== null) return host.value;
  throw new UnderstudyError('host-missing', { host: replica.targetHostId });
}
