/**
 * Switchover: production takes over from the replica.
 *
 *   load → another pass → look at the source, if another VM takes its place → shut the replica down → last delta
 *        → tell the target → attach the layers → record Failback → start production → running → guest answering
 *
 * Whatever fails before production runs is undone: the replica starts again, and is ready to switch as before. From then
 * on a decision is due: commit, or undo. Where the controller went away on the way, or a person was asked, neither
 * starts beside whoever serves by now.
 */
import type { AddressProbe } from '../domain/failover/address-probe.ts';
import type { FailbackRecord, SwitchoverRecord } from '../domain/failover/failback.ts';
import type { DiskKey, VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { Versioned } from '../ports/catalog.ts';
import { NO_RETRY, type OperationContext, type OperationDefinition } from '../ports/durable.ts';
import { type Attached, attachLayers } from './attach-layers.ts';
import { addressesToTrust, awaitGuest, type GuestAnswered } from './await-guest.ts';
import { catchUp, nextPass, synced } from './catch-up-failback.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type Failback, loadFailback } from './failback-facts.ts';
import { beginPass, endPass, type Moved } from './failback-pass.ts';
import { releaseSource } from './guard-source.ts';
import {
  besideStanding,
  heedAgain,
  heedSource,
  type UnaskedAtSwitchover,
  unfencedBeside,
} from './heed-source.ts';
import { numberIn } from './input.ts';
import { savedReplica } from './replica-facts.ts';
import { shutDownReplica } from './shut-down-replica.ts';
import { liftFence } from './source-fence.ts';
import { type SwitchoverTeller, switchoverSettled, switchoverTeller } from './tell-switchover.ts';
import { tellTargetAgain, untoldChanges } from './tell-target.ts';

export function switchOverDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'switch-over',
    run: async (context, input) => {
      const loaded = await loadFailback(ports, context, input, 'switch-over');
      const teller = switchoverTeller(ports, context, loaded.replica);
      const over = await moveOver(ports, context, { loaded, teller }, input).catch(
        async (error: unknown) => {
          await teller.failed(error);
          throw error;
        },
      );
      const { failback, moved, running, ...waiting } = over;
      const told = { ...failback, replica: running.value };
      // What it was switched off with is still to be read from the freeze where the target could not be told.
      const isTold = over.isTold || (await tellTargetAgain(context, told));
      if (isTold) await context.part('last-delta-end', 'part', (part) => endPass(part, moved.pass));
      const guestDeadlineMs = numberIn(input, 'guestDeadlineMs');
      const wait = { ...waiting, guestDeadlineMs };
      const answered = await answer(ports, context, failback, running, wait);
      return {
        vmId: waiting.vmId,
        sentBytes: failback.failback.syncedBytes + moved.sentBytes,
        lastDeltaBytes: moved.sentBytes,
        ...answered,
      };
    },
  };
}

type Over = {
  readonly failback: Failback;
  readonly moved: Awaited<ReturnType<typeof beginPass>>;
  readonly running: Versioned<Replica>;
  readonly isTold: boolean;
  readonly vmId: VmId;
  readonly downSince: Instant;
  /** Where else than through its agent production's guest may answer. */
  readonly addresses: readonly AddressProbe[];
};

/** Until production runs every failure leads back to the replica that serves. */
async function moveOver(
  ports: EnginePorts,
  context: OperationContext,
  { loaded, teller }: { readonly loaded: Failback; readonly teller: SwitchoverTeller },
  input: Json,
): Promise<Over> {
  const failback = await context.part('catch-up', 'part', (part) => followUp(part, loaded));
  const heeded = await heedSource(ports, context, failback, failback.failback.home);
  const { isJustSeen, ...unasked } = heeded;
  const downSince = await context.now('down-since');
  const isStillSeen = await shutDownReplica(ports, context, failback, {
    input,
    isJustSeen,
    teller,
  });
  const moved = await context.part('last-delta', 'operation', (part) =>
    beginPass(part, nextPass(failback)),
  );
  const attached = await attachLayers(context, failback, moved, input);
  const beside = await besideStanding(ports, context, failback.replica, unasked);
  const switched = await recordSwitched(context, failback, moved, { ...attached, beside });
  await release(ports, context, failback, switched.value);
  const addresses = await addressesToTrust(
    context,
    { target: failback.home, settings: failback.settings },
    true,
  );
  const starting = { ...attached, downSince, isJustSeen: isStillSeen };
  const running = await start(ports, context, failback, switched, starting);
  const { vmId, isTold } = attached;
  return { failback, moved, running, isTold, vmId, downSince, addresses };
}

async function followUp(part: OperationContext, failback: Failback): Promise<Failback> {
  const { value, version } = await catchUp(part, failback);
  const replica = { ...failback.replica, failback: value };
  return { ...failback, replica, failback: value, version };
}

type Beside = { readonly beside: UnaskedAtSwitchover };

async function recordSwitched(
  context: OperationContext,
  failback: Failback,
  moved: Moved,
  { vmId, pointId: id, changes, isTold, beside }: Attached & Beside,
): Promise<Versioned<Replica>> {
  const record = await synced(context, failback, moved);
  const switchedAt = await context.now('switched-at');
  const switched: SwitchoverRecord = {
    pointId: id,
    takenAt: moved.frozen.takenAt,
    trackedDisks: trackedDisks(record),
    changes,
    switchedAt,
    runningAfterMs: null,
    answeringAfterMs: null,
  };
  const { replica, version } = failback;
  const epoch = replica.epoch + 1;
  const home = { ...record.home, vmId };
  const value = apply(
    { ...replica, epoch, failback: { ...record, home, switched } },
    'switched-over',
  );
  // The replica serves again then; hosts have heard of this epoch as production's.
  const back: Replica = { ...replica, epoch: epoch + 1 };
  const { sidecars } = moved.frozen;
  const untold = isTold ? null : untoldChanges(context, failback, sidecars, switchedAt);
  const unfenced = unfencedBeside(replica, home, beside, switchedAt);
  const made = [...(untold?.made ?? []), ...unfenced.made];
  const undone = [...(untold?.undone ?? []), ...unfenced.undone];
  await context.record('record-switched', [savedReplica(value, version), ...made], {
    undo: [savedReplica(back, version + 1), ...undone],
  });
  return { value, version: version + 1 };
}

/** Every layer tracks changes; whether the disk below can, once they are merged, the next run finds out. */
function trackedDisks({ layers }: FailbackRecord): readonly DiskKey[] {
  return layers.map(({ key }) => key);
}

/** What is about to start may be the source, or a new VM under its old identity. */
async function release(
  ports: EnginePorts,
  context: OperationContext,
  failback: Failback,
  replica: Replica,
): Promise<void> {
  const home = replica.failback?.home;
  if (home?.hostId !== replica.sourceHostId || home.vmId !== replica.sourceVmId) return;
  await releaseSource(ports, context, { ...failback, replica }, 'throw');
}

type Starting = Pick<Over, 'vmId' | 'downSince'> & { readonly isJustSeen: boolean };

async function start(
  ports: EnginePorts,
  context: OperationContext,
  before: Failback,
  { value: replica, version }: Versioned<Replica>,
  { vmId, downSince, isJustSeen }: Starting,
): Promise<Versioned<Replica>> {
  const { home, failback } = before;
  const { hypervisor } = home;
  const { fencedNics } = before.failover;
  if (fencedNics?.length !== 0 && failback.home.kind === 'original') {
    await context.step<null>('connect-production', {
      do: async (attempt) => {
        await liftFence(hypervisor, before.replica, { fence: 'nics', fencedNics }, attempt);
        return null;
      },
      undo: 'nothing',
    });
  }
  await context.step<null>('start-production', {
    do: async ({ key, signal }) => {
      const starting = { home: failback.home, vmId, hypervisor };
      if (!isJustSeen) await heedAgain(ports, before, starting, { signal });
      await hypervisor.start({ key, vmId }, { signal });
      return null;
    },
    undo: ({ key, signal }) => hypervisor.powerOff({ key, vmId }, { signal }),
    retry: { ...NO_RETRY, attemptsMax: 2, firstDelayMs: 500, delayMsMax: 500 },
  });
  const runningAt = await context.now('running-at');
  const runningAfterMs = Math.max(0, runningAt - downSince);
  return saveSwitched(context, 'record-running', { value: replica, version }, { runningAfterMs });
}

type Times = Pick<SwitchoverRecord, 'runningAfterMs' | 'answeringAfterMs'>;

async function saveSwitched(
  context: OperationContext,
  name: string,
  { value: replica, version }: Versioned<Replica>,
  times: Partial<Times>,
): Promise<Versioned<Replica>> {
  const { failback } = replica;
  const switched = failback?.switched ?? null;
  if (failback === null || switched === null) throw new Error(`${replica.id} has not switched`);
  const value = { ...replica, failback: { ...failback, switched: { ...switched, ...times } } };
  const changes = [savedReplica(value, version), switchoverSettled(replica.id)];
  await context.record(name, changes, { undo: 'irreversible' });
  return { value, version: version + 1 };
}

async function answer(
  ports: EnginePorts,
  context: OperationContext,
  { home }: Failback,
  running: Versioned<Replica>,
  waiting: Pick<Over, 'vmId' | 'downSince' | 'addresses'> & { readonly guestDeadlineMs: number },
): Promise<Times & Pick<GuestAnswered, 'answeredBy'>> {
  const { vmId, guestDeadlineMs, downSince: requestedAt, addresses } = waiting;
  const wait = { target: home, guestDeadlineMs, requestedAt, addresses };
  const { answeringAfterMs, answeredBy } = await awaitGuest(ports, context, wait, vmId);
  if (answeringAfterMs !== null) {
    await saveSwitched(context, 'record-times', running, { answeringAfterMs });
  }
  const switched = running.value.failback?.switched;
  return { runningAfterMs: switched?.runningAfterMs ?? null, answeringAfterMs, answeredBy };
}
