/**
 * Fencing after the fact: the source of a failover is cut off, or given back what it was cut off from, while the replica
 * serves. What was done is recorded with the failover, so that its undo lifts it.
 *
 *   fence:   load → look at the source → tell the branch → fence → record → hold the source back
 *   unfence: load → let the source go → lift the fence → look at the source → tell the branch → record
 */
import { UnderstudyError } from '../domain/error.ts';
import { fenceRefusal, neededFence } from '../domain/failover/connection.ts';
import { addFence } from '../domain/failover/fencing.ts';
import { replicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { FailoverRecord, Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import { isServing } from '../domain/vm/vm.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { holdSource, releaseSource } from './guard-source.ts';
import { fenceIn, flagIn, textIn } from './input.ts';
import { leavesFenced } from './leave-place.ts';
import { liftAlone, liftBeside } from './lift-alone.ts';
import { cleared } from './record-failover.ts';
import { loadReplica, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { besideSibling, heedSiblings, toldOfSiblings } from './siblings.ts';
import {
  fenceSource,
  fencingOf,
  liftFence,
  lookAtSource,
  type SourceSeen,
} from './source-fence.ts';
import type { MovingPorts } from './taking-place.ts';
import { tellBranchOrNot } from './tell-branch.ts';

export function fenceDefinition(ports: EnginePorts): OperationDefinition {
  return { kind: 'fence-source', run: (context, input) => fence(ports, context, input) };
}

export function unfenceDefinition(ports: EnginePorts & MovingPorts): OperationDefinition {
  return { kind: 'unfence-source', run: (context, input) => unfence(ports, context, input) };
}

async function fence(ports: EnginePorts, context: OperationContext, input: Json): Promise<Json> {
  const id = replicaId(textIn(input, 'replicaId'));
  const facts = await loadReplica(ports, context, id, 'fence');
  const failover = requireFailover(facts.replica);
  const wanted = fenceIn(input);
  const source = await actingFor(ports, id, facts.replica.sourceHostId);
  const seen = await look(ports, context, 'look-at-source', facts.replica);
  const refused = fenceRefusal(seen, wanted);
  if (refused !== null) {
    const details = { vm: facts.replica.sourceVmName, reason: refused };
    throw new UnderstudyError('fence-failed', details);
  }
  const needed = neededFence(seen, wanted);
  const fencing = fencingOf(seen, needed);
  const added = addFence(failover, fencing);
  const fenced = { ...failover, ...added, isDuplicateAccepted: false, isSourceReleased: false };
  await tell(ports, context, facts.replica, fenced);
  await fenceSource(context, source, facts.replica, fencing, (undoing) =>
    leavesFenced(ports, facts.replica, fencing, undoing),
  );
  const beside = await lookBeside(ports, context, facts.replica, failover);
  await recordFence(context, facts, fenced, ({ id: replicaId }) => [
    beside,
    { type: 'condition-cleared', replicaId, name: 'source-returned' },
  ]);
  await holdSource(ports, context, { ...facts, replica: { ...facts.replica, failover: fenced } });
  if (needed === 'none') await context.note('note-quiet', quietNote(seen));
  if (!failover.isConnected) await context.note('note-nobody', NOBODY_SERVES);
  return { fence: needed };
}

async function unfence(
  ports: EnginePorts & MovingPorts,
  context: OperationContext,
  input: Json,
): Promise<Json> {
  const id = replicaId(textIn(input, 'replicaId'));
  const facts = await loadReplica(ports, context, id, 'unfence');
  const failover = requireFailover(facts.replica);
  const acceptsDuplicate = flagIn(input, 'acceptsDuplicate');
  requireAccepted(facts.replica, failover, acceptsDuplicate);
  const { sourceVmName } = facts.replica;
  if (!acceptsDuplicate) await heedSiblings(ports, context, facts.replica, sourceVmName);
  const source = await actingFor(ports, id, facts.replica.sourceHostId);
  await releaseSource(ports, context, facts, 'throw');
  const sibling = await context.step<string | null>('lift-fence', {
    do: async (attempt) => {
      const lift = () => liftFence(source.hypervisor, facts.replica, failover, attempt);
      const lifted = acceptsDuplicate ? liftBeside : liftAlone;
      return lifted(ports, facts.replica, attempt, lift);
    },
    // Lifted again by whoever tries again; what was lifted half-way is still recorded as a fence.
    undo: 'nothing',
  });
  const seen = await look(ports, context, 'look-at-source', facts.replica);
  const now = await context.now('unfenced-at');
  // No answer is not "off": what was expressly accepted is recorded, then, too.
  const meets = (isServing(seen) || seen.power === 'unknown') && failover.isConnected;
  const lifted: FailoverRecord = {
    ...failover,
    fence: 'none',
    fencedNics: [],
    isDuplicateAccepted: meets,
    isSourceReleased: true,
  };
  const told = [
    ...(meets ? [duplicateAccepted(facts.replica, seen, now)] : []),
    ...(sibling === null ? [] : [besideSibling(facts.replica, sourceVmName, sibling, now)]),
  ];
  await tell(ports, context, facts.replica, lifted);
  await recordFence(context, facts, lifted, () => told);
  return { lifted: failover.fence, sourcePower: seen.power };
}

/** Before a fence, because it must not be forgotten; after one was lifted, because lifting it again does no harm. */
async function tell(
  { hosts, catalog, clock }: EnginePorts,
  context: OperationContext,
  replica: Replica,
  failover: FailoverRecord,
): Promise<void> {
  const target = await hosts.ports(replica.targetHostId);
  await tellBranchOrNot(context, 'tell-branch', { catalog, clock, target, replica, failover });
}

/** Also asked before the operation is accepted; the replica may have been connected since. */
export function requireAccepted(
  { name, sourceVmName }: Replica,
  { isConnected }: FailoverRecord,
  acceptsDuplicate: boolean,
): void {
  if (!isConnected || acceptsDuplicate) return;
  throw new UnderstudyError('duplicate-refused', { replica: name, vm: sourceVmName });
}

export function requireFailover({ id, phase, failover }: Replica): FailoverRecord {
  if (failover !== null) return failover;
  throw new Error(`replica ${id} is in ${phase} without a failover`);
}

function look(
  ports: EnginePorts,
  context: OperationContext,
  name: string,
  replica: Replica,
): Promise<SourceSeen> {
  return context.step<SourceSeen>(name, {
    do: async ({ signal }) => {
      const { hypervisor } = await ports.hosts.ports(replica.sourceHostId);
      return lookAtSource({ hypervisor, clock: ports.clock }, replica, { signal });
    },
    undo: 'nothing',
  });
}

async function recordFence(
  context: OperationContext,
  { replica, version }: ReplicaFacts,
  failover: FailoverRecord,
  conditions: (replica: Replica) => readonly CatalogChange[],
): Promise<void> {
  const saved = savedReplica({ ...replica, failover }, version);
  await context.record('record-fence', [saved, ...conditions(replica)], { undo: 'irreversible' });
}

/** The source is not the only one that a replica may meet. */
async function lookBeside(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
  { isConnected }: FailoverRecord,
): Promise<CatalogChange> {
  if (!isConnected) return cleared(replica);
  const since = await context.now('fenced-at');
  return context.step<CatalogChange>('look-beside', {
    do: (attempt) => toldOfSiblings(ports, replica, replica.name, since, attempt),
    undo: 'nothing',
  });
}

function duplicateAccepted(replica: Replica, seen: SourceSeen, since: Instant): CatalogChange {
  const may = seen.power === 'unknown' ? 'may run and be' : 'runs and is';
  const message =
    `The source VM ${replica.sourceVmName} ${may} connected beside its replica, which was expressly accepted. ` +
    `Cut it off with \`understudy fence ${shellArgument(replica.name)} --with nics\`.`;
  return {
    type: 'condition-raised',
    replicaId: replica.id,
    condition: { name: 'unfenced-source', message, since },
  };
}

const NOBODY_SERVES =
  'The replica stays disconnected, as it was started beside the running source: now neither is on the network. ' +
  'To let it serve, undo the failover and fail over with --fence.';

function quietNote({ power }: SourceSeen): string {
  const state: Record<string, string> = {
    off: 'The source VM is off',
    absent: 'The source host no longer has the VM',
  };
  return `${state[power] ?? 'The source VM is disconnected'}: there was nothing to do.`;
}
