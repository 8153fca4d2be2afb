/**
 * Undo failover: back to the source, whatever point was failed over to.
 *
 *   load → record epoch → power the replica off → archive the branch → rest the replica VM → record Ready
 *        → let the source go → lift the fence
 *
 * The branch is kept for a while, read-only, so that an undo never destroys the only copy of something.
 * Forced, when the target host does not answer, it records Ready with `cleanup-pending` and leaves the rest
 * to the first run after the host is back.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { replicaId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import { apply } from '../domain/replica/phase.ts';
import type {
  ArchivedBranch,
  FailoverRecord,
  Replica,
  SourceFence,
} from '../domain/replica/replica.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { releaseSource } from './guard-source.ts';
import { flagIn, textIn } from './input.ts';
import { archiveBranch, powerOffAgain, powerOffReplica } from './leave-branch.ts';
import { liftAlone } from './lift-alone.ts';
import { cleared } from './record-failover.ts';
import {
  loadReplica,
  loadSettings,
  type ReplicaFacts,
  type ReplicaSettings,
  savedReplica,
} from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';
import { besideSibling, toldOfSource } from './siblings.ts';
import { liftFence } from './source-fence.ts';
import type { MovingPorts } from './taking-place.ts';
import { tellLeftFence } from './tell-folder.ts';
import { whyLater } from './why-later.ts';

export function undoFailoverDefinition(ports: EnginePorts & MovingPorts): OperationDefinition {
  return {
    kind: 'undo-failover',
    run: async (context, input) => {
      const facts = await loadReplica(
        ports,
        context,
        replicaId(textIn(input, 'replicaId')),
        'undo-failover',
      );
      const settings = await loadSettings(ports, context, facts.replica);
      const target = await actingFor(ports, facts.replica.id, facts.replica.targetHostId);
      const undo = await raiseEpoch(context, await planUndo(context, { facts, settings, target }));
      const isCleanedUp = await leaveFailover(ports, context, undo, flagIn(input, 'force'));
      const told = await toldBeside(ports, context, undo);
      await recordReady(context, undo, isCleanedUp, told);
      await releaseSource(ports, context, { ...undo.facts, replica: undo.ready }, 'later');
      if (!flagIn(input, 'liftFence')) await context.note('note-fence', LEFT[undo.failover.fence]);
      else if (hasFenced(undo.failover)) await liftSourceFence(ports, context, undo);
      return { branchId: undo.archive.branchId, isCleanedUp };
    },
  };
}

type Undo = {
  readonly facts: ReplicaFacts;
  readonly settings: ReplicaSettings;
  readonly target: HostPorts;
  readonly failover: FailoverRecord;
  readonly archive: ArchivedBranch;
  /** The replica as it will be. */
  readonly ready: Replica;
  readonly now: Instant;
};

async function planUndo(
  context: OperationContext,
  given: Pick<Undo, 'facts' | 'settings' | 'target'>,
): Promise<Undo> {
  const now = await context.now('undone-at');
  const { replica } = given.facts;
  const { failover } = replica;
  if (failover === null)
    throw new Error(`replica ${replica.id} is in ${replica.phase} without a failover`);
  const archive: ArchivedBranch = {
    branchId: failover.branchId,
    pointId: failover.pointId,
    overBranchId: failover.overBranchId,
    archivedAt: now,
    keepUntil: instant(now + given.settings.archiveSeconds * 1000),
  };
  const ready = apply(
    {
      ...replica,
      epoch: replica.epoch + 1,
      failover: null,
      leftFencedNics: failover.fencedNics,
      archives: [...replica.archives, archive],
    },
    'failover-undone',
  );
  return { ...given, failover, archive, ready, now };
}

/** Recorded before a host hears of it, as every epoch is: a host refuses whoever comes with a lower one. */
async function raiseEpoch(context: OperationContext, undo: Undo): Promise<Undo> {
  const { replica, version } = undo.facts;
  const raised = { ...replica, epoch: undo.ready.epoch };
  await context.record('raise-epoch', [savedReplica(raised, version)], { undo: 'nothing' });
  return { ...undo, facts: { ...undo.facts, replica: raised, version: version + 1 } };
}

/** False when it was forced past a target that does not answer. */
async function leaveFailover(
  ports: EnginePorts,
  context: OperationContext,
  undo: Undo,
  force: boolean,
): Promise<boolean> {
  const steps = [powerOff, archive, rest] as const;
  for (const step of steps) {
    const reached = await context.step<boolean>(step.title, {
      do: async ({ key, signal }) => {
        try {
          await step.run(ports, undo, { key, signal });
          return true;
        } catch (error) {
          if (force && isNoAnswer(error)) return false;
          throw error;
        }
      },
      undo: 'irreversible',
    });
    if (!reached) return false;
  }
  return true;
}

function isNoAnswer(error: unknown): boolean {
  const { code } = asUnderstudyError(error);
  return code === 'host-unreachable' || code === 'timed-out';
}

type Attempt = Parameters<Parameters<OperationContext['step']>[1]['do']>[0];
type LeavingStep = {
  readonly title: string;
  readonly run: (
    ports: EnginePorts,
    undo: Undo,
    attempt: Pick<Attempt, 'key' | 'signal'>,
  ) => Promise<unknown>;
};

const powerOff: LeavingStep = {
  title: 'power-off-replica',
  run: (_ports, { facts, target }, attempt) => powerOffReplica(target, facts.replica, attempt),
};

const archive: LeavingStep = {
  title: 'archive-branch',
  // Also what a hop had to leave as it was. Somebody may have started the replica since it was powered off.
  run: async ({ catalog }, { facts, target, ready }, attempt) => {
    await powerOffAgain(target, facts.replica, attempt);
    await tellLeftFence(catalog, target, ready, attempt);
    for (const archived of ready.archives) await archiveBranch(target, ready, archived, attempt);
  },
};

const rest: LeavingStep = {
  title: 'rest-replica',
  run: async (_ports, { facts, ready, settings, target }, { key, signal }) => {
    if (facts.newest === null) return;
    await defineAtRest({ replica: ready, point: facts.newest, settings, target }, key, { signal });
  },
};

/**
 * A source that was given its place back while the replica stood in may meet another replica of the VM after this, too. What else was
 * told of the source was told of this replica beside it, and ends with it.
 */
function toldBeside(
  ports: EnginePorts,
  context: OperationContext,
  { ready, failover, now }: Undo,
): Promise<CatalogChange> {
  return context.step<CatalogChange>('look-beside', {
    do: async (attempt) => {
      const isTold = (await ports.catalog.conditions(ready.id)).some(
        ({ name }) => name === 'unfenced-source',
      );
      if (!isTold || !failover.isSourceReleased) return cleared(ready);
      return toldOfSource(ports, ready, now, attempt);
    },
    undo: 'nothing',
  });
}

async function recordReady(
  context: OperationContext,
  undo: Undo,
  isCleanedUp: boolean,
  told: CatalogChange,
): Promise<void> {
  const { facts, ready, now } = undo;
  const changes: CatalogChange[] = [savedReplica(ready, facts.version)];
  if (isCleanedUp) {
    changes.push(told);
    changes.push({ type: 'condition-cleared', replicaId: ready.id, name: 'source-returned' });
  } else {
    changes.push(cleanupPending(ready, now));
  }
  await context.record('record-ready', changes, { undo: 'irreversible' });
}

function cleanupPending(replica: Replica, since: Instant): CatalogChange {
  const message =
    `The target host did not answer when the failover was undone: the replica VM ${replica.name} may still ` +
    'run there, unfenced. Nothing is replicated until the host is back and the VM is proven off.';
  return {
    type: 'condition-raised',
    replicaId: replica.id,
    condition: { name: 'cleanup-pending', message, since },
  };
}

const LEFT: Record<SourceFence, string> = {
  none: 'The source VM is left as it is; the failover had not fenced it.',
  nics:
    'The source VM is left without network, as asked, also at its next start; connect its NICs at its hypervisor: ' +
    'virsh domif-setlink VM MAC up, with --config and without. Until then the next failover remembers them, and its undo or ' +
    'its switchover back connects them.',
  shutdown: 'The source VM is left off, as asked; start it at its hypervisor.',
  'power-off': 'The source VM is left off, as asked; start it at its hypervisor.',
};

function hasFenced({ fence, fencedNics }: FailoverRecord): boolean {
  return fence !== 'none' || fencedNics?.length !== 0;
}

/** The replica is off now, so the source may serve again; a source that cannot is told, not forced. */
async function liftSourceFence(
  ports: EnginePorts & MovingPorts,
  context: OperationContext,
  undo: Undo,
): Promise<void> {
  const { failover, facts } = undo;
  const source = await actingFor(ports, facts.replica.id, facts.replica.sourceHostId);
  const { hypervisor } = source;
  const { failure, sibling } = await context.step<Lifted>('lift-fence', {
    do: async (attempt) => {
      try {
        const lift = () => liftFence(hypervisor, facts.replica, failover, attempt);
        const sibling = await liftAlone(ports, facts.replica, attempt, lift);
        return { failure: null, sibling };
      } catch (error) {
        return { failure: whyLater(error, attempt), sibling: null };
      }
    },
    undo: 'nothing',
  });
  if (failure === null) {
    await recordLifted(context, undo, sibling);
  } else {
    await context.note(
      'note-fence',
      `The fence around the source VM could not be lifted. ${failure}`,
    );
  }
}

type Lifted = {
  readonly failure: string | null;
  /** Stands in for another replica, and may be met. */
  readonly sibling: string | null;
};

async function recordLifted(
  context: OperationContext,
  { ready, facts, now }: Undo,
  sibling: string | null,
): Promise<void> {
  const { sourceVmName } = facts.replica;
  const changes: CatalogChange[] = [];
  if (ready.leftFencedNics?.length !== 0) {
    changes.push(savedReplica({ ...ready, leftFencedNics: [] }, facts.version + 1));
  }
  if (sibling !== null) changes.push(besideSibling(ready, sourceVmName, sibling, now));
  if (changes.length > 0) await context.record('record-lifted', changes, { undo: 'nothing' });
}
