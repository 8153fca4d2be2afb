/**
 * The two ways out of a failback that was not kept: before production took over, and after. Either way production's disks
 * are as they were before, its working layers gone, and the replica serves.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { named } from '../domain/failover/connection.ts';
import { addStopOf } from '../domain/failover/fencing.ts';
import { type OperationKey, operationKey } from '../domain/ids.ts';
import { apply, type PhaseEvent } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import { mayServe } from '../domain/vm/vm.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { sweepReplicaMarks } from './copy-home.ts';
import { dropLayers } from './drop-layers.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type Failback, layersCommand, loadFailback } from './failback-facts.ts';
import { holdSource } from './guard-source.ts';
import { requireNoSource } from './heed-source.ts';
import { flagIn, numberIn } from './input.ts';
import { requireMeetsNobody } from './meet-nobody.ts';
import { unparkReplica } from './park-replica.ts';
import { cleared } from './record-failover.ts';
import { refuseMerged } from './refuse-merged.ts';
import { savedReplica } from './replica-facts.ts';
import { besideSibling, lookAtSiblings, requireNoSibling } from './siblings.ts';
import { tellBranchOrNot } from './tell-branch.ts';
import { switchoverSettled, wasLeftOff } from './tell-switchover.ts';
import { makeStartable, startableRecorded } from './tell-target.ts';
import {
  layersTemporary,
  orLeaveToSweeper,
  PATIENCE_MS,
  replicaFreezeTemporary,
} from './temporaries.ts';

/** ReadyToSwitch → Failover: the replica never stopped serving, unless a switchover failed and could not start it again. */
export function cancelFailbackDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'cancel-failback',
    run: async (context, input) => {
      const failback = await loadFailback(ports, context, input, 'cancel-failback');
      // Found when the catalogue was rebuilt: a switchover that was cut off may have parked it.
      if (failback.failback.syncedMark === null) await unparkReplica(context, failback);
      const isLeftOff = await wasLeftOff(ports, context, failback.replica);
      const replica = await recordFailover(context, failback, 'failback-cancelled', []);
      if (isLeftOff) await startLeftOff(ports, context, { ...failback, replica });
      await leaveHome(context, failback, replica);
      await sweepPasses(context, failback);
      return null;
    },
  };
}

/**
 * Failback → Failover: production stops first, and only then the replica starts from its state at the switchover. Before that its host
 * must be there and let it start: else production would be stopped for nothing.
 */
export function undoFailbackDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'undo-failback',
    run: async (context, input) => {
      const failback = await loadFailback(ports, context, input, 'undo-failback');
      const force = flagIn(input, 'force');
      await refuseMerged(context, failback, force);
      let isJustSeen = false;
      const onLook = () => {
        isJustSeen = true;
      };
      const sibling = await heedOthers(ports, context, failback, { force, onLook });
      const deadlineMs = numberIn(input, 'shutdownDeadlineMs');
      await makeStartable(context, failback);
      const isOff = await stopProduction(context, failback, { deadlineMs, force });
      const more = besideOthers(failback, isOff ? null : failback.failback.home.name, sibling);
      const replica = await recordFailover(context, failback, 'failback-undone', more, !isOff);
      await holdSource(ports, context, { ...failback, replica });
      await startReplica(ports, context, { ...failback, replica }, isJustSeen);
      await leaveHome(context, failback, replica);
      await sweepPasses(context, failback);
      return { isProductionOff: isOff };
    },
  };
}

type Stopping = { readonly deadlineMs: number; readonly force: boolean };

/** False when it was forced past a production host that does not answer. */
async function stopProduction(
  context: OperationContext,
  { home, failback }: Failback,
  { deadlineMs, force }: Stopping,
): Promise<boolean> {
  const { vmId } = failback.home;
  if (vmId === null) return true;
  return context.step<boolean>('stop-production', {
    do: async ({ key, signal }) => {
      try {
        const isDown = await home.hypervisor.shutdown({ key, vmId, deadlineMs }, { signal });
        if (!isDown) await home.hypervisor.powerOff({ key, vmId }, { signal });
        return true;
      } catch (error) {
        const { code } = asUnderstudyError(error);
        if (code === 'vm-missing') return true;
        if (force && (code === 'host-unreachable' || code === 'timed-out')) return false;
        throw error;
      }
    },
    undo: ({ key, signal }) => home.hypervisor.start({ key, vmId }, { signal }),
  });
}

type Heeding = {
  readonly force: boolean;
  /** Not where the journal answers: whoever starts the replica then looks again. */
  readonly onLook: () => void;
};

/**
 * Answers with another replica that may serve beside this one. Throws `sibling-serves` where it does, and `source-serves` where
 * production stands elsewhere and the source is back, unless it was forced past them.
 */
async function heedOthers(
  ports: EnginePorts,
  context: OperationContext,
  { replica, failover, failback }: Failback,
  { force, onLook }: Heeding,
): Promise<string | null> {
  if (!failover.isConnected || failover.isDuplicateAccepted) return null;
  return context.step<string | null>('look-at-siblings', {
    do: async (attempt) => {
      onLook();
      if (force) {
        const beside = (await lookAtSiblings(ports, replica, attempt)).find(mayServe);
        return beside === undefined ? null : named(beside);
      }
      await requireNoSource(ports, replica, failback.home, attempt);
      return requireNoSibling(ports, replica, replica.name, attempt);
    },
    undo: 'nothing',
  });
}

/** What the switchover told of others that nobody could ask is withdrawn, or told of the replica from now on. */
function besideOthers(
  { replica, failover, failback }: Failback,
  /** Could not be asked, and may still run. */
  production: string | null,
  sibling: string | null,
): readonly CatalogChange[] {
  const since = failback.syncedAt;
  if (production !== null) {
    const others = sibling === null ? '' : ` ${sibling}, may, too.`;
    const message =
      `The failback was undone although production VM ${production} could not be asked, so it may still run ` +
      `beside the replica.${others} Make sure that only one of them serves.`;
    const condition = { name: 'unfenced-source', message, since } as const;
    return [{ type: 'condition-raised', replicaId: replica.id, condition }];
  }
  if (sibling !== null) return [besideSibling(replica, replica.name, sibling, since)];
  return failover.isConnected ? [] : [cleared(replica)];
}

/** The layers, and what passes left at the replica, become temporary: they go now, or by the sweeper once their hosts answer. */
async function recordFailover(
  context: OperationContext,
  loaded: Failback,
  event: Extract<PhaseEvent, 'failback-cancelled' | 'failback-undone'>,
  more: readonly CatalogChange[],
  /** Production could not be asked, and may go on. */
  isLeftServing = false,
): Promise<Replica> {
  const { replica, failover, failback, version } = loaded;
  const now = await context.now('left-at');
  const fenced = { ...failover, ...addStopOf(failback, failover) };
  const value: Replica = apply(
    { ...replica, epoch: replica.epoch + 1, failback: null, failover: fenced },
    event,
  );
  const left = [
    layersTemporary(context.operationId, value, failback, now, isLeftServing),
    replicaFreezeTemporary(passMarksKey(context), value, now),
  ];
  const changes = [
    savedReplica(value, version),
    ...left.map((temporary) => ({ type: 'temporary-registered', temporary }) as const),
    switchoverSettled(replica.id),
    ...startableRecorded(context, loaded),
    ...more,
  ];
  await context.record('record-failover', changes, { undo: 'irreversible' });
  return value;
}

async function startReplica(
  ports: EnginePorts,
  context: OperationContext,
  { target, replica, replicaVmId: vmId }: Failback,
  isJustSeen: boolean,
): Promise<void> {
  await context.step<null>('start-replica', {
    do: async ({ key, signal }) => {
      if (!isJustSeen) await requireMeetsNobody(ports, { replica, target, vmId }, { signal });
      await target.hypervisor.start({ key, vmId }, { signal });
      return null;
    },
    undo: 'nothing',
  });
}

/** It is left off where somebody serves in its place by now. */
async function startLeftOff(
  ports: EnginePorts,
  context: OperationContext,
  { target, replica, replicaVmId: vmId }: Failback,
): Promise<void> {
  const serving = await context.step<string | null>('start-replica', {
    do: async ({ key, signal }) => {
      try {
        await requireMeetsNobody(ports, { replica, target, vmId }, { signal });
      } catch (error) {
        const { code, details } = asUnderstudyError(error);
        if (code === 'started-beside-source') return replica.sourceVmName;
        if (code === 'sibling-serves') return String(details.sibling);
        throw error;
      }
      await target.hypervisor.start({ key, vmId }, { signal });
      return null;
    },
    undo: 'nothing',
  });
  if (serving === null) return;
  const undo = `\`understudy undo-failover ${shellArgument(replica.name)}\``;
  await context.note(
    'note-left-off',
    `${replica.name} stays off, because ${serving} serves. ${undo} brings its failover to an end.`,
  );
}

async function leaveHome(
  context: OperationContext,
  { home, failback, clock, catalog, target, newest }: Failback,
  /** As it is recorded now. */
  replica: Replica,
): Promise<void> {
  const { hostId, vmId } = failback.home;
  const isGone = await context.step<boolean>('drop-layers', {
    do: ({ key, signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, (options) =>
        dropLayers(
          { replica, newest, catalog, home, hostId, vmId },
          layersCommand(failback, replica, key),
          options,
        ),
      ),
    undo: 'nothing',
  });
  if (!isGone) {
    await context.note(
      'note-layers',
      `The working layers of ${failback.home.name} are still there; they are removed when its host answers.`,
    );
    return;
  }
  const { key } = layersTemporary(context.operationId, replica, failback, failback.startedAt);
  await context.record('release-layers', [{ type: 'temporary-released', key }], {
    undo: 'nothing',
  });
  const { failover } = replica;
  if (failover === null) return;
  await tellBranchOrNot(context, 'tell-branch', { catalog, clock, target, replica, failover });
}

/** A failback that begins anew looks at everything again. */
async function sweepPasses(context: OperationContext, failback: Failback): Promise<void> {
  const { clock } = failback;
  const isSwept = await context.step<boolean>('sweep-marks', {
    do: ({ signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, (options) =>
        sweepReplicaMarks(failback, null, options),
      ),
    undo: 'nothing',
  });
  if (!isSwept) return;
  await context.record(
    'release-marks',
    [{ type: 'temporary-released', key: passMarksKey(context) }],
    { undo: 'nothing' },
  );
}

function passMarksKey({ operationId }: OperationContext): OperationKey {
  return operationKey(operationId, 'pass-marks');
}
