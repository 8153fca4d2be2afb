/**
 * Planned failover: no write is lost.
 *
 *   replicate, again and again, until the last delta will be short → shut the source down → last delta → take over
 *
 * Until the replica runs every failure leads back: what was sealed stays as restore points, the source is started again,
 * and the replica is Ready. Points that only led up to the last one are retired as they are superseded; what
 * retention wants gone goes before the shutdown, because nobody serves after it.
 */
import { type CatchUpPolicy, decideCatchUp, type Pass } from '../domain/failover/catch-up.ts';
import { sourceOf } from '../domain/failover/watched-source.ts';
import { type PointId, type ReplicaId, replicaId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { SourceFence } from '../domain/replica/replica.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { numberIn, textIn } from './input.ts';
import { leavesOff } from './leave-place.ts';
import { type MadePoint, makePoint } from './make-point.ts';
import { loadReplica, requireReplica } from './replica-facts.ts';
import { shutDownVm } from './shut-down-vm.ts';
import { heedSiblings, requireNoSibling } from './siblings.ts';
import { takeOver } from './take-over.ts';

export function plannedFailoverDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'planned-failover',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const { replica } = await loadReplica(ports, context, id, 'planned-failover');
      await heedSiblings(ports, context, replica, replica.name);
      const caughtUp = await catchUp(ports, context, id, policyIn(input));
      const downSince = await context.now('down-since');
      const isFencedBy = await shutDownSource(ports, context, id, input);
      const last = await context.part('last-delta', 'part', (part) =>
        makePoint(ports, part, {
          replicaId: id,
          supersedes: caughtUp.pointId,
          appliesRetention: caughtUp.passes === 0,
          isUrgent: true,
          keepsReserve: false,
        }),
      );
      const tookover = await context.part('take-over', 'operation', (part) =>
        takeOver(ports, part, {
          replicaId: id,
          pointId: last.pointId,
          archiveId: null,
          fence: 'none',
          isFencedBy,
          acceptsDuplicate: false,
          acceptsDrift: false,
          reason: textIn(input, 'reason'),
          requestedAt: downSince,
          guestDeadlineMs: numberIn(input, 'guestDeadlineMs'),
          isReturnable: true,
        }),
      );
      return { ...tookover, passes: caughtUp.passes, lastDeltaBytes: last.sentBytes };
    },
  };
}

type CaughtUp = { readonly passes: number; readonly pointId: PointId | null };

/** Replicates the source as it runs; the newest point of all passes is the one that the last delta follows. */
async function catchUp(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
  policy: CatchUpPolicy,
): Promise<CaughtUp> {
  const passes: Pass[] = [];
  let pointId: PointId | null = null;
  for (let decided = decideCatchUp(passes, policy); !decided.isEnough; ) {
    const number = passes.length + 1;
    const startedAt = await context.now(`pass-${number}-started-at`);
    const order = {
      replicaId: id,
      supersedes: pointId,
      appliesRetention: true,
      isUrgent: false,
      // The reserve is there for a replica that takes over, and this one is about to.
      keepsReserve: false,
    };
    const made: MadePoint = await context.part(`pass-${number}`, 'part', (part) =>
      makePoint(ports, part, order),
    );
    const endedAt = await context.now(`pass-${number}-ended-at`);
    const { takenAt, previousTakenAt, sentBytes } = made;
    const coveredMs = previousTakenAt === null ? null : takenAt - previousTakenAt;
    // A clock may have gone back.
    passes.push({ durationMs: Math.max(1, endedAt - startedAt), sentBytes, coveredMs });
    pointId = made.pointId;
    decided = decideCatchUp(passes, policy);
    const next = decided.isEnough ? 'The source is shut down now' : 'Another pass follows';
    await context.note(`pass-${number}-note`, `${next}, because ${decided.because}.`);
  }
  return { passes: passes.length, pointId };
}

async function shutDownSource(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
  input: Json,
): Promise<SourceFence> {
  const { value: replica } = await requireReplica(ports.catalog, id);
  const { hypervisor } = await actingFor(ports, id, replica.sourceHostId);
  return shutDownVm(context, {
    role: 'source',
    name: replica.sourceVmName,
    vmId: replica.sourceVmId,
    hypervisor,
    deadlineMs: numberIn(input, 'shutdownDeadlineMs'),
    onMissedDeadline: textIn(input, 'onMissedDeadline'),
    lookAgain: async (options) => {
      await requireNoSibling(ports, replica, replica.name, options);
    },
    comeBack: async (start, undoing) => {
      if (!(await leavesOff(ports, replica, sourceOf(replica), undoing))) await start();
    },
  });
}

function policyIn(input: Json): CatchUpPolicy {
  return {
    passesMax: numberIn(input, 'passesMax'),
    lastDeltaMsMax: numberIn(input, 'lastDeltaMsMax'),
  };
}
