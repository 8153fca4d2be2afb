/**
 * Rescan: compares what is recorded of a replica with what is there, tells every difference, and repairs those
 * that have a repair when asked to. Without `repair` it changes nothing but the condition `drifted`.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { type ReplicaId, replicaId, type VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { ReplicaFinding } from '../domain/replica/finding.ts';
import type { ConditionName, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition, StepAttempt } from '../ports/durable.ts';
import type { HostPorts, HostViews } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { following } from './find-points.ts';
import { flagIn, textIn } from './input.ts';
import { inspectReplicaVm } from './inspect-replica-vm.ts';
import {
  loadReplica,
  loadSettings,
  type ReplicaFacts,
  type ReplicaSettings,
  savedReplica,
} from './replica-facts.ts';
import { defineAtRest, isKnownOutdated } from './rest-replica.ts';

export function rescanDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'rescan',
    run: async (context, input) => {
      const facts = await loadReplica(
        ports,
        context,
        replicaId(textIn(input, 'replicaId')),
        'rescan',
      );
      const settings = await loadSettings(ports, context, facts.replica);
      const target = await actingFor(ports, facts.replica.id, facts.replica.targetHostId);
      const isOutdated = await isKnownOutdated(ports.catalog, context, facts.replica.id);
      const scan = { facts, settings, target, isOutdated };
      const found = await look(context, 'look', scan);
      if (!flagIn(input, 'repair') || found.length === 0) {
        await recordFindings(ports, context, facts, { findings: found, isRedefined: false });
        return { findings: found, left: found, isRepaired: false };
      }
      const replica = await repair(context, scan, found);
      const repaired = { ...facts, replica };
      const left = await look(context, 'look-again', {
        ...scan,
        facts: repaired,
        isOutdated: false,
      });
      const isRedefined = found.some(needsDefinition);
      await recordFindings(ports, context, repaired, { findings: left, isRedefined });
      return { findings: found, left, isRepaired: true };
    },
  };
}

type Scan = {
  readonly facts: ReplicaFacts;
  readonly settings: ReplicaSettings;
  readonly target: HostPorts;
  /** The last run could not renew the replica's definition. */
  readonly isOutdated: boolean;
};

function look(
  context: OperationContext,
  name: string,
  scan: Scan,
): Promise<readonly ReplicaFinding[]> {
  return context.step<readonly ReplicaFinding[]>(name, {
    do: async ({ signal }) => [
      ...(await inspectFolder(scan, { signal })),
      ...(await inspectReplicaVm(scan, { signal })),
    ],
    undo: 'nothing',
  });
}

/** Before the first run has begun to bring anything there is no folder yet. */
async function inspectFolder(
  { facts: { replica }, target }: Scan,
  options: CallOptions,
): Promise<readonly ReplicaFinding[]> {
  try {
    return await target.store.inspect(replica.id, options);
  } catch (error) {
    const isNew = replica.phase === 'Pending' && replica.newestPointId === null;
    if (isNew && asUnderstudyError(error).code === 'replica-missing') return [];
    throw error;
  }
}

/** The replica as it is then: its VM may have got another identity, or its first. */
async function repair(
  context: OperationContext,
  scan: Scan,
  found: readonly ReplicaFinding[],
): Promise<Replica> {
  await context.step<null>('repair', {
    do: async (attempt) => {
      const { replica } = scan.facts;
      const command = { key: attempt.key, replicaId: replica.id, epoch: replica.epoch };
      const ofStore = found.filter((finding) => !needsDefinition(finding));
      await scan.target.store.repair({ ...command, findings: ofStore }, { signal: attempt.signal });
      return null;
    },
    undo: 'nothing',
  });
  const { replica } = scan.facts;
  if (!found.some(needsDefinition)) return replica;
  const targetVmId = await context.step<VmId | null>('redefine-vm', {
    do: (attempt) => redefine(scan, attempt),
    undo: 'nothing',
  });
  return { ...replica, targetVmId };
}

function needsDefinition({ repair }: ReplicaFinding): boolean {
  return repair === 'redefine-vm';
}

async function redefine(
  { facts, settings, target }: Scan,
  { key, signal }: StepAttempt,
): Promise<VmId | null> {
  const { replica, newest } = facts;
  if (newest === null) return replica.targetVmId;
  return defineAtRest({ replica, point: newest, settings, target }, key, { signal });
}

type Outcome = {
  /** What is left. */
  readonly findings: readonly ReplicaFinding[];
  /** The replica VM is defined as its source is now. */
  readonly isRedefined: boolean;
};

/** The catalogue follows what is on disk; the condition says what a person still has to decide. */
async function recordFindings(
  ports: EnginePorts,
  context: OperationContext,
  facts: ReplicaFacts,
  { findings, isRedefined }: Outcome,
): Promise<void> {
  const now = await context.now('scanned-at');
  const target = await ports.hosts.ports(facts.replica.targetHostId);
  const changes = await context.step<readonly CatalogChange[]>('compare-points', {
    do: async ({ signal }) => [
      ...(await pointChanges(ports, facts, target, signal)),
      ...conditionChanges(facts.replica.id, { findings, isRedefined }, now),
    ],
    undo: 'nothing',
  });
  await context.record('record-findings', changes, { undo: 'nothing' });
}

async function pointChanges(
  ports: EnginePorts,
  { replica, version }: ReplicaFacts,
  target: HostViews,
  signal: AbortSignal,
): Promise<readonly CatalogChange[]> {
  const saved = (await ports.catalog.replica(replica.id))?.value;
  const onDisk = await readablePoints(replica, target, { signal });
  if (onDisk === null) {
    return saved?.targetVmId === replica.targetVmId ? [] : [savedReplica(replica, version)];
  }
  const recorded = await ports.catalog.points(replica.id);
  const gone = recorded.filter((point) => !onDisk.some((other) => other.id === point.id));
  const unrecorded = onDisk.filter((point) => !recorded.some((other) => other.id === point.id));
  const followed = following(replica, onDisk.at(-1)?.id ?? null);
  const changes: CatalogChange[] = [
    ...gone.map(({ id }) => ({
      type: 'point-removed' as const,
      replicaId: replica.id,
      pointId: id,
    })),
    ...unrecorded.map((point) => ({ type: 'point-saved' as const, point })),
  ];
  if (
    followed.newestPointId !== saved?.newestPointId ||
    followed.targetVmId !== saved.targetVmId ||
    followed.phase !== saved.phase
  ) {
    changes.push(savedReplica(followed, version));
  }
  return changes;
}

/** Null while the replica's own record or a point cannot be read: that is a finding, and nothing to follow. */
async function readablePoints(
  { id }: Replica,
  { store }: HostViews,
  options: CallOptions,
): Promise<readonly RestorePoint[] | null> {
  try {
    return await store.points(id, options);
  } catch (error) {
    const { code } = asUnderstudyError(error);
    if (code === 'invalid-file' || code === 'replica-missing') return null;
    throw error;
  }
}

function conditionChanges(
  replicaId: ReplicaId,
  { findings, isRedefined }: Outcome,
  since: Instant,
): readonly CatalogChange[] {
  const cleared = (name: ConditionName) =>
    ({ type: 'condition-cleared', replicaId, name }) as const;
  const renewed = isRedefined ? [cleared('definition-outdated')] : [];
  // Told by a condition of its own, and nobody's doing.
  const drift = findings.filter(({ kind }) => kind !== 'vm-outdated');
  if (drift.length === 0) return [...renewed, cleared('drifted')];
  const message = drift.map((finding) => `${finding.object}: ${finding.message}`).join('; ');
  const condition = { name: 'drifted', message, since } as const;
  return [...renewed, { type: 'condition-raised', replicaId, condition }];
}
