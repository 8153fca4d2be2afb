/**
 * What the target is told before production takes over: with what state the replica was switched off, that it must not
 * start any more, and what becomes of the failback. Production has every byte by then, so a target that does not answer
 * keeps nobody from going home: what it could not be told is registered, a condition says what that means, and it is told
 * as soon as it answers, before a commit at the latest.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import type { FailbackRecord } from '../domain/failover/failback.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { Catalog, CatalogChange, Temporary } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import { withDeadline } from './deadline.ts';
import type { Failback } from './failback-facts.ts';
import { park, unpark } from './park-replica.ts';
import { type ToldFailback, tellBranch } from './tell-branch.ts';
import { sidecarsIn, untoldTemporary } from './temporaries.ts';

/** Production waits for it. */
const PATIENCE_MS = 5_000;
const CONDITION = 'replica-startable';
const CHANGED = 'replica-changed';

type Message = { readonly told: ToldFailback; readonly sidecars: readonly Sidecar[] };
type Attempt = Pick<StepAttempt, 'key' | 'signal'>;
type Teller = Pick<Failback, 'catalog' | 'clock' | 'target' | 'replica'>;

/**
 * False: it does not know, or not all of it. Undone, the replica can start again. Throws `vm-not-off` where somebody has started the
 * replica since it was shut down: what it writes, production does not have.
 */
export function tellTarget(
  context: OperationContext,
  failback: Failback,
  message: Message,
): Promise<boolean> {
  return context.step<boolean>('tell-target', {
    do: async (attempt) => {
      const work = (until: Attempt) => tell(failback, message, until);
      return patiently(failback, attempt, work, ['epoch-refused', 'vm-not-off']);
    },
    undo: (attempt) => unpark(failback, attempt),
  });
}

/** Once production runs: a target that was away for a moment needs no sweep. True when it knows now. */
export async function tellTargetAgain(
  context: OperationContext,
  failback: Failback,
): Promise<boolean> {
  const untold = await findUntold(context, failback);
  if (untold === null) return true;
  const isTold = await context.step<boolean>('tell-target-again', {
    do: (attempt) =>
      patiently(failback, attempt, (until) => tellUntold(failback, untold.identity, until)),
    undo: 'nothing',
  });
  if (isTold) await recordTold(context, failback.replica, untold);
  return isTold;
}

/** Before the replica's state becomes a restore point. */
export async function requireTold(context: OperationContext, failback: Failback): Promise<void> {
  const untold = await findUntold(context, failback);
  if (untold === null) return;
  await context.step<null>('tell-target', {
    do: async (attempt) => {
      await tellUntold(failback, untold.identity, attempt);
      return null;
    },
    undo: 'nothing',
  });
  await recordTold(context, failback.replica, untold);
}

/**
 * Before the way back from a switchover. When that fails production serves on, and the replica must not start any more: it is
 * registered before it can, so that the target is told also where the way back of the undo is given up, or the target does not hear it.
 */
export async function makeStartable(context: OperationContext, failback: Failback): Promise<void> {
  const isUntold = (await findUntold(context, failback)) !== null;
  const temporary = untoldTemporary(context.operationId, failback.replica, failback.failback, []);
  if (!isUntold) {
    const registered = { type: 'temporary-registered', temporary } as const;
    await context.record('record-startable', [registered], { undo: 'nothing' });
  }
  await context.step<null>('unpark-replica', {
    do: async (attempt) => {
      await unpark(failback, attempt);
      return null;
    },
    undo: async (attempt) => {
      const { catalog, replica } = failback;
      const isParked = await patiently(failback, attempt, (until) => parkAgain(failback, until));
      if (!isParked) await tellStartable(failback, 'undo-failed');
      else if (!isUntold) await catalog.apply(told(replica.id, temporary));
    },
  });
}

/** The replica may start: whoever registered that it must not does not come back to it. */
export function startableRecorded(
  { operationId }: OperationContext,
  { replica, failback }: Failback,
): readonly CatalogChange[] {
  return [
    ...told(replica.id, untoldTemporary(operationId, replica, failback, [])),
    ranSettled(replica.id),
  ];
}

/** For the sweeper, too. A failback that was undone since has nothing to be told any more. */
export async function tellUntold(
  { catalog, clock, target, replica }: Teller,
  identity: Temporary['identity'],
  attempt: Attempt,
): Promise<void> {
  const { failback, failover, targetVmId: replicaVmId } = replica;
  const switched = failback?.switched ?? null;
  if (failback === null || switched === null || failback.id !== identity.failbackId) return;
  if (failover === null || replicaVmId === null) return;
  const { pointId, takenAt, changes } = switched;
  const told = { ...failback, switched: { pointId, takenAt, changes } };
  const at = { catalog, clock, target, replica, failover, replicaVmId };
  const sidecars = sidecarsIn(identity);
  await tell(at, { told, sidecars }, attempt, 'if-there').catch(async (error) => {
    const isRunning = asUnderstudyError(error).code === 'vm-not-off';
    if (isRunning) await tellRuns(at);
    else await tellStartable(at, 'undo-failed');
    throw error;
  });
}

/** Throws `vm-not-off` where somebody has started it in the meantime. */
async function parkAgain(failback: Failback, attempt: Attempt): Promise<void> {
  await park(failback, attempt).catch(async (error) => {
    if (asUnderstudyError(error).code === 'vm-not-off') await tellRuns(failback);
    throw error;
  });
}

/** It runs although production has taken over. What it writes stays in its branch also when it is off again. */
export async function tellRuns(at: Pick<Failback, 'catalog' | 'clock' | 'replica'>): Promise<void> {
  await tellStartable(at, 'running');
  const { catalog, clock, replica } = at;
  const { id: replicaId, name } = replica;
  if (await hasRun(catalog, replicaId)) return;
  const message =
    `${name} has run since production took over, and production does not have what it wrote. So no restore point is made of its ` +
    'state when this failback is committed, and the next run goes on from an older one. An undo goes on from what it wrote.';
  const condition = { name: CHANGED, message, since: clock.now() } as const;
  await catalog.apply([{ type: 'condition-raised', replicaId, condition }]);
}

/** Whether it was seen to run since production took over. */
export async function hasRun(catalog: Catalog, replicaId: ReplicaId): Promise<boolean> {
  return (await catalog.conditions(replicaId)).some(({ name }) => name === CHANGED);
}

/** The failback is over, either way. */
export function ranSettled(replicaId: ReplicaId): CatalogChange {
  return { type: 'condition-cleared', replicaId, name: CHANGED };
}

/** What a switchover has told stands until the replica is seen to run: then it says that. */
async function tellStartable(
  { catalog, clock, replica }: Pick<Failback, 'catalog' | 'clock' | 'replica'>,
  because: keyof typeof STARTABLE,
): Promise<void> {
  const { id } = replica;
  const standing = (await catalog.conditions(id)).find(({ name }) => name === CONDITION);
  const message = STARTABLE[because](replica);
  if (message === standing?.message || (standing !== undefined && because !== 'running')) return;
  const condition = { name: CONDITION, message, since: standing?.since ?? clock.now() } as const;
  await catalog.apply([{ type: 'condition-raised', replicaId: id, condition }]);
}

const STARTABLE = {
  /** Somebody was quicker, or its host started it: that is for a person to end, who knows why. */
  running: ({ name }: Replica) =>
    `${name} runs on its host although production has taken over, which does not have what ${name} writes: shut it down ` +
    'there. Then it is kept from starting again.',
  switched: ({ name }: Replica) =>
    `Production has taken over while the host of ${name} did not answer, so that ${name} could be started there by hand: ` +
    'do not, until this failback is committed or undone. It is seen to when that host answers again.',
  'undo-failed': ({ name }: Replica) =>
    `The undo of the failback has failed, so that production is to serve. As the host of ${name} did not answer, ${name} may be startable there ` +
    'by hand: do not, until this failback is committed or undone. It is seen to when that host answers again.',
};

/** What is recorded with a switchover that the target does not know of. */
export function untoldChanges(
  { operationId }: OperationContext,
  { replica, failback }: Failback,
  sidecars: readonly Sidecar[],
  since: Instant,
): { readonly made: readonly CatalogChange[]; readonly undone: readonly CatalogChange[] } {
  const temporary = untoldTemporary(operationId, replica, failback, sidecars);
  const { id } = replica;
  const message = STARTABLE.switched(replica);
  const condition = { name: CONDITION, message, since } as const;
  return {
    made: [
      { type: 'temporary-registered', temporary },
      { type: 'condition-raised', replicaId: id, condition },
    ],
    undone: told(id, temporary),
  };
}

/** It is not startable any more, or may be. */
export function startableSettled(replicaId: ReplicaId): CatalogChange {
  return { type: 'condition-cleared', replicaId, name: CONDITION };
}

function told(replicaId: ReplicaId, { key }: Temporary): readonly CatalogChange[] {
  return [startableSettled(replicaId), { type: 'temporary-released', key }];
}

async function recordTold(
  context: OperationContext,
  { id }: Replica,
  untold: Temporary,
): Promise<void> {
  await context.record('record-told', told(id, untold), { undo: 'nothing' });
}

function findUntold(
  context: OperationContext,
  { catalog, failback }: Failback,
): Promise<Temporary | null> {
  return context.step<Temporary | null>('look-for-untold', {
    do: async () => {
      const all = await catalog.temporaries();
      return all.find((one) => isOf(failback, one)) ?? null;
    },
    undo: 'nothing',
  });
}

function isOf({ id }: FailbackRecord, { kind, identity }: Temporary): boolean {
  return kind === 'untold-switchover' && identity.failbackId === id;
}

type Switching = Teller & Pick<Failback, 'failover' | 'replicaVmId'>;

async function tell(
  at: Switching,
  { told, sidecars }: Message,
  attempt: Attempt,
  files: 'are-there' | 'if-there' = 'are-there',
): Promise<void> {
  const { target, replica, failover } = at;
  if (sidecars.length > 0) {
    const { branchId } = failover;
    const command = { key: attempt.key, replicaId: replica.id, epoch: replica.epoch };
    await target.store.keepSidecars({ ...command, branchId, sidecars }, attempt).catch((error) => {
      // Its host came back without them: then the branch keeps what it was made with.
      if (files === 'are-there' || asUnderstudyError(error).code !== 'invalid-file') throw error;
    });
  }
  await park(at, attempt);
  await tellBranch(at, told, attempt);
}

/** False: not now. That another controller is in charge is an answer, and ends this one's switchover. */
async function patiently(
  { clock }: Failback,
  { key, signal }: StepAttempt,
  work: (attempt: Attempt) => Promise<void>,
  answers: readonly ErrorCode[] = ['epoch-refused'],
): Promise<boolean> {
  try {
    await withDeadline(clock, PATIENCE_MS, { signal }, (until) => work({ key, signal: until }));
    return true;
  } catch (error) {
    const { kind, code } = asUnderstudyError(error);
    if (kind === 'bug' || answers.includes(code) || signal.aborted) throw error;
    return false;
  }
}
