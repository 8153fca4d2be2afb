/**
 * Boots copies of restore points in isolation, asks them, looks at them and takes them away again; several at once.
 *
 *   register → branch + isolated VM → start → probe in rounds → evidence → hold → tear down → release
 *
 * Nothing here holds the replica or writes to its record: replication, failover and other tests go on beside it. Branches
 * are what keeps retention from touching the layers below. The epoch is read anew for every command, because it may
 * grow meanwhile.
 */
import { formatDuration } from '../domain/duration.ts';
import { asUnderstudyError } from '../domain/error.ts';
import { branchId, type VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import { type Isolation, type PointTest, summarise } from '../domain/test-failover/point-test.ts';
import type { Probe } from '../domain/test-failover/probe.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { ObservedTest } from '../ports/test-bench.ts';
import type { EnginePorts } from './engine-ports.ts';
import { askInRounds } from './probe-rounds.ts';
import { orLeaveToSweeper, PATIENCE_MS, type TestPlan, testTemporary } from './temporaries.ts';
import { withEpoch } from './with-epoch.ts';

/** Whoever has seen enough of a test that is held says so on this topic. */
export const END_TEST = 'end-test';

export type TestBatch = {
  readonly replica: Replica;
  readonly target: HostPorts;
  /** Not more than the operation has slots for. */
  readonly points: readonly RestorePoint[];
  readonly probes: readonly Probe[];
  /** How long to let them run after the probes, for a look around. */
  readonly holdSeconds: number;
};

/** One result per point, in their order; null for a point that was retired before it could be booted. */
export async function testPoints(
  ports: EnginePorts,
  context: OperationContext,
  batch: TestBatch,
): Promise<readonly (PointTest | null)[]> {
  const plans = await plan(context, batch);
  const registeredAt = await context.now('tests-at');
  await register(context, batch, plans, registeredAt);
  const made = await setUp(ports, context, batch, plans);
  const started = await start(ports, context, batch, made);
  const asked = await askInRounds(ports, context, {
    target: batch.target,
    probes: batch.probes,
    tests: started.flatMap((test) => (test?.runningAfterMs == null ? [] : [test])),
  });
  const observed = await observe(context, batch, started);
  await hold(context, batch);
  const isGone = await tearDown(ports, context, batch, plans);
  const released = plans
    .filter((_, index) => isGone[index])
    .map((each) => testTemporary(context.operationId, batch.replica, each, registeredAt).released);
  await context.record('release-tests', released, { undo: 'nothing' });
  return plans.map((each, index) => {
    const test = started[index];
    if (test == null) return null;
    const verdicts = asked.get(each.testId) ?? [];
    const told = summarise(test.runningAfterMs, verdicts);
    const passedAfterMs = verdicts.filter(({ passed }) => passed).map((one) => one.durationMs);
    return {
      pointId: each.point.id,
      testId: each.testId,
      vmName: each.name,
      isolation: test.isolation,
      passed: told.passed,
      summary: test.refusal === null ? told.summary : `The VM did not start: ${test.refusal}`,
      runningAfterMs: test.runningAfterMs,
      answeringAfterMs: passedAfterMs.length === 0 ? null : Math.min(...passedAfterMs),
      verdicts,
      evidence: observed[index]?.files ?? [],
      missingEvidence: observed[index]?.missing ?? [],
      isCleanedUp: isGone[index] === true,
    };
  });
}

async function plan(
  context: OperationContext,
  { replica, points }: TestBatch,
): Promise<readonly TestPlan[]> {
  const plans: TestPlan[] = [];
  for (const [index, point] of points.entries()) {
    const testId = await context.freshId(`test-id-${index}`, 'tst');
    const branch = branchId(await context.freshId(`branch-id-${index}`, 'br'));
    const name = `${replica.sourceVmName}-test-${testId.slice(-6)}`;
    plans.push({ testId, branchId: branch, point, name });
  }
  return plans;
}

async function register(
  context: OperationContext,
  { replica }: TestBatch,
  plans: readonly TestPlan[],
  at: Instant,
): Promise<void> {
  const registered = plans.map(
    (each) => testTemporary(context.operationId, replica, each, at).registered,
  );
  await context.record('register-tests', registered, { undo: 'nothing' });
}

type MadeTest = { readonly testId: string; readonly vmId: VmId; readonly isolation: Isolation };

/** Null where the point is gone: retention may have taken it since it was chosen. */
function setUp(
  ports: EnginePorts,
  context: OperationContext,
  batch: TestBatch,
  plans: readonly TestPlan[],
): Promise<readonly (MadeTest | null)[]> {
  return context.step<readonly (MadeTest | null)[]>('set-up-tests', {
    do: (attempt) => everyOne(plans, (each) => setUpOne(ports, batch, each, attempt)),
    undo: async (attempt) => {
      await everyOne(plans, (each) => removeOne(ports, batch, each, attempt));
    },
  });
}

async function setUpOne(
  ports: EnginePorts,
  { replica, target }: TestBatch,
  { testId, branchId, point, name }: TestPlan,
  { key, signal }: StepAttempt,
): Promise<MadeTest | null> {
  try {
    const { disks, sidecars } = await withEpoch(ports, replica.id, (epoch) =>
      target.store.createBranch(
        { key, replicaId: replica.id, epoch, branchId, pointId: point.id },
        { signal },
      ),
    );
    const { vmId, isolation } = await target.testBench.setUp(
      { key, testId, replicaId: replica.id, branchId, name, source: point.vm, disks, sidecars },
      { signal },
    );
    return { testId, vmId, isolation };
  } catch (error) {
    if (asUnderstudyError(error).code === 'point-missing') return null;
    throw error;
  }
}

export type StartedTest = MadeTest & {
  readonly runningAfterMs: number | null;
  /** Why the hypervisor would not start it. */
  readonly refusal: string | null;
};

/** A VM that its hypervisor will not start is a finding about the point, not a failure of the test. */
function start(
  { clock }: EnginePorts,
  context: OperationContext,
  { target }: TestBatch,
  made: readonly (MadeTest | null)[],
): Promise<readonly (StartedTest | null)[]> {
  return context.step<readonly (StartedTest | null)[]>('start-tests', {
    do: ({ key, signal }) =>
      everyOne(made, async (test) => {
        if (test === null) return null;
        const began = clock.monotonicMs();
        try {
          await target.hypervisor.start({ key, vmId: test.vmId }, { signal });
          return {
            ...test,
            runningAfterMs: Math.round(clock.monotonicMs() - began),
            refusal: null,
          };
        } catch (error) {
          const { code, message } = asUnderstudyError(error);
          if (signal.aborted || code !== 'hypervisor-refused') throw error;
          return { ...test, runningAfterMs: null, refusal: message };
        }
      }),
    undo: 'nothing',
  });
}

/** Evidence helps people; that there is none must not cost the verdict. */
function observe(
  context: OperationContext,
  { target }: TestBatch,
  started: readonly (StartedTest | null)[],
): Promise<readonly ObservedTest[]> {
  return context.step<readonly ObservedTest[]>('collect-evidence', {
    do: ({ key, signal }) =>
      everyOne(started, async (test) => {
        if (test === null || test.runningAfterMs === null) return { files: [], missing: [] };
        const { testId, vmId } = test;
        try {
          return await target.testBench.observe({ key, testId, vmId }, { signal });
        } catch (error) {
          const { kind, message } = asUnderstudyError(error);
          if (signal.aborted || kind === 'bug') throw error;
          return { files: [], missing: [message] };
        }
      }),
    undo: 'nothing',
  });
}

async function hold(context: OperationContext, { holdSeconds }: TestBatch): Promise<void> {
  if (holdSeconds === 0) return;
  await context.note(
    'note-hold',
    `Held for ${formatDuration(holdSeconds)}; \`understudy test end ${context.operationId}\` ends it.`,
  );
  await context.receive('hold', END_TEST, holdSeconds * 1000);
}

/** Whether each is gone; what is not, stays registered for the sweeper. */
function tearDown(
  ports: EnginePorts,
  context: OperationContext,
  batch: TestBatch,
  plans: readonly TestPlan[],
): Promise<readonly boolean[]> {
  return context.step<readonly boolean[]>('tear-down-tests', {
    do: (attempt) => everyOne(plans, (each) => removeOne(ports, batch, each, attempt)),
    undo: 'nothing',
  });
}

/** The VM first: QEMU must have let go of the branch. */
function removeOne(
  ports: EnginePorts,
  { replica, target }: TestBatch,
  { testId, branchId }: TestPlan,
  { key, signal }: StepAttempt,
): Promise<boolean> {
  const { clock } = ports;
  return orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, async (options) => {
    await target.testBench.tearDown({ key, testId }, options);
    await withEpoch(ports, replica.id, (epoch) =>
      target.store.deleteBranch({ key, replicaId: replica.id, epoch, branchId }, options),
    );
  });
}

/** All of them, and only then the first error: nothing may still be under way when a step ends. */
async function everyOne<In, Out>(
  items: readonly In[],
  work: (item: In) => Promise<Out>,
): Promise<readonly Out[]> {
  const outcomes = await Promise.allSettled(items.map(work));
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
