/**
 * Accepts operations: gives them their id, title and claims, and makes way for those that cannot wait. A failover
 * must not be refused because a routine run hangs on the very site that was lost.
 */
import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import { placesOf } from '../../domain/failover/siblings.ts';
import { type OperationId, operationId } from '../../domain/ids.ts';
import type { Json, OperationKind, OperationRecord } from '../../domain/operation/operation.ts';
import { type ReplicaOperation, requireAllowed } from '../../domain/replica/phase.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CommandOptions } from '../../ports/controller.ts';
import type { Claims } from '../../ports/durable.ts';
import { STOP_WAITING } from '../await-guest.ts';
import { withDeadline } from '../deadline.ts';
import { requireStill, siblingsMoving, TAKING_PLACE } from '../taking-place.ts';
import type { ControllerPorts } from './controller-ports.ts';

export type Order = {
  readonly kind: OperationKind;
  /** Null: allowed in every phase. */
  readonly allowedAs: ReplicaOperation | null;
  readonly title: string;
  readonly input: Readonly<Record<string, Json>>;
  /** Without it: the replica. */
  readonly exclusive?: Claims['exclusive'];
  readonly slots?: Claims['slots'];
};

/** One that holds the replica, and tests beside it that wait for their slots. */
const OPEN_MAX = 1000;

/** How long others may take to stop before the wish is refused. */
const MAKE_WAY_MS = 60_000;

/** What each kind may push aside; whatever is not listed makes it wait its turn by `operation-in-progress`. */
const YIELDS_TO: Partial<Record<OperationKind, readonly OperationKind[]>> = {
  failover: ['replicate', 'planned-failover', 'verify', 'rescan', 'sweep'],
  'planned-failover': ['replicate', 'verify', 'rescan', 'sweep'],
  'undo-failover': [
    'failover',
    'planned-failover',
    'hop',
    'fence-source',
    'unfence-source',
    'verify',
    'rescan',
    'sweep',
  ],
  'permanent-failover': [
    'failover',
    'planned-failover',
    'hop',
    'fence-source',
    'unfence-source',
    'verify',
    'rescan',
    'test-failover',
    'bisect',
    'sweep',
  ],
  hop: ['failover', 'hop', 'verify', 'rescan', 'sweep'],
  'keep-archive': ['sweep'],
  'delete-archive': ['sweep'],
  failback: ['failover', 'planned-failover', 'hop', 'verify', 'rescan', 'sweep'],
  'switch-over': ['catch-up-failback', 'verify', 'rescan', 'sweep'],
  'catch-up-failback': ['sweep'],
  'cancel-failback': ['catch-up-failback', 'switch-over', 'verify', 'rescan', 'sweep'],
  'commit-failback': ['switch-over', 'verify', 'rescan', 'sweep'],
  'undo-failback': ['switch-over', 'verify', 'rescan', 'sweep'],
  'fence-source': ['failover', 'hop', 'unfence-source', 'verify', 'rescan', 'sweep'],
  'unfence-source': ['failover', 'hop', 'verify', 'rescan', 'sweep'],
  replicate: ['sweep'],
  rescan: ['sweep'],
  verify: ['sweep'],
  'remove-replica': ['test-failover', 'bisect', 'sweep'],
  'delete-replica': ['test-failover', 'bisect', 'sweep'],
};

/** While one of these is under way, what will be allowed after it is not known yet. */
const PHASE_CHANGING: readonly OperationKind[] = [
  'replicate',
  'failover',
  'planned-failover',
  'undo-failover',
  'switch-over',
];

/** What was asked for before with this key, for wishes that may be refused before they come to `accept`. */
export async function knownOperation(
  { durable }: ControllerPorts,
  { seed }: CommandOptions,
): Promise<OperationRecord | null> {
  return seed === null ? null : durable.operation(operationId(`op-${seed}`));
}

export async function accept(
  ports: ControllerPorts,
  replica: Replica,
  order: Order,
  options: CommandOptions,
): Promise<OperationRecord> {
  try {
    return await begin(ports, replica, order, options);
  } catch (error) {
    throw namingReplica(error, replica);
  }
}

/** Claims and subjects are ids; people know names. */
function namingReplica(error: unknown, { id, name }: Replica): unknown {
  if (!(error instanceof UnderstudyError) || error.code !== 'operation-in-progress') return error;
  const { what } = error.details;
  if (what !== id && what !== `replica:${id}`) return error;
  return new UnderstudyError(error.code, { ...error.details, what: name }, error);
}

async function begin(
  ports: ControllerPorts,
  replica: Replica,
  order: Order,
  options: CommandOptions,
): Promise<OperationRecord> {
  const known = await knownOperation(ports, options);
  if (known !== null) return known;
  const id = freshOperationId(ports, options.seed);
  await requireOthersStill(ports, replica, order);
  const current = await makeWay(ports, replica, order, options);
  if (order.allowedAs !== null) requireAllowed(current, order.allowedAs);
  const { kind, title, input, exclusive = [`replica:${replica.id}`], slots = [] } = order;
  // To make way takes its time.
  await requireOthersStill(ports, current, order);
  return ports.durable.start({
    id,
    kind,
    subject: replica.id,
    title,
    input: { ...input, replicaId: replica.id },
    claims: { exclusive, slots: [...slots, ...placeSlots(kind, current)] },
  });
}

/** Two that take the place of one VM at the same time would not see each other. Throws `sibling-moving`. */
async function requireOthersStill(
  ports: ControllerPorts,
  replica: Replica,
  { kind }: Order,
): Promise<void> {
  if (TAKING_PLACE.includes(kind)) requireStill(await siblingsMoving(ports, replica));
}

/** Of two that are asked for in the same moment neither is under way yet: the second waits, and sees then what the first has done. */
function placeSlots(kind: OperationKind, replica: Replica): Claims['slots'] {
  if (!TAKING_PLACE.includes(kind)) return [];
  return placesOf(replica).map((name) => ({ name, limit: 1 }));
}

/**
 * An undo that is stuck may be asked for again, forced this time; and so may a failover without the fence that could not
 * be taken back, because the source host went away half-way. One that is stuck after it took over is retried instead.
 */
function mustYield(
  { kind, state }: OperationRecord,
  to: OperationKind,
  { phase }: Replica,
): boolean {
  const mayInsist = kind === 'undo-failover' || kind === 'undo-failback';
  if (state === 'suspended' && kind === to && mayInsist) return true;
  if (state === 'suspended' && kind === to && kind === 'failover') return phase === 'Ready';
  return YIELDS_TO[to]?.includes(kind) ?? false;
}

function freshOperationId(ports: ControllerPorts, seed: string | null): OperationId {
  return operationId(seed === null ? ports.ids.fresh('op') : `op-${seed}`);
}

/** The replica as it is once whoever must yield has stopped. For a wish that is refused anyway nobody is stopped. */
async function makeWay(
  ports: ControllerPorts,
  replica: Replica,
  { kind, allowedAs }: Order,
  options: CommandOptions,
): Promise<Replica> {
  const open = await ports.durable.operations({ subject: replica.id, open: true, limit: OPEN_MAX });
  const mayChange = open.some((operation) => PHASE_CHANGING.includes(operation.kind));
  if (allowedAs !== null && !mayChange) requireAllowed(replica, allowedAs);
  for (const operation of open) {
    if (!mustYield(operation, kind, replica)) continue;
    await stop(ports, operation, `It makes way for ${kind}.`, options);
  }
  const fresh = await ports.catalog.replica(replica.id);
  if (fresh === null) throw new UnderstudyError('replica-missing', { replica: replica.id });
  return fresh.value;
}

/** Asks it to end, telling its history why, and waits until it has. Throws `operation-in-progress` when it does not. */
export async function stop(
  { durable, clock }: ControllerPorts,
  operation: OperationRecord,
  because: string,
  { signal }: CallOptions,
): Promise<void> {
  // Not null: that is what receiving nothing answers.
  await durable.send(operation.id, STOP_WAITING, true);
  if (operation.kind !== 'failover' || operation.state !== 'running') {
    await cancelIfPossible(durable, operation.id, because);
  }
  try {
    const settled = await withDeadline(clock, MAKE_WAY_MS, { signal }, (patience) =>
      durable.settled(operation.id, { signal: patience }),
    );
    // Its way back is barred, as by the very outage that it has to make way for: then it is given up.
    if (settled.state === 'suspended') await cancelIfPossible(durable, operation.id, because);
  } catch (error) {
    if (signal.aborted) throw error;
    const { id, kind, subject } = operation;
    throw new UnderstudyError('operation-in-progress', { what: subject, operation: id, kind });
  }
}

/** Past its point of no return an operation cannot be cancelled, only waited for. */
async function cancelIfPossible(
  durable: ControllerPorts['durable'],
  id: OperationId,
  because: string,
): Promise<void> {
  try {
    await durable.cancel(id, because);
  } catch (error) {
    if (asUnderstudyError(error).code !== 'operation-not-cancellable') throw error;
  }
}
