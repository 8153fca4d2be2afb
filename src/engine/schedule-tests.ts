/** Starts the test failovers that jobs want to happen by themselves, and tells when one could not be carried out. */
import { asUnderstudyError } from '../domain/error.ts';
import { type Job, protectedVm, type TestingPolicy } from '../domain/job/job.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { isTestDue, type PastTest } from '../domain/test-failover/test-schedule.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startTest } from './control/tests.ts';
import { tellTestTrouble, withdrawTestTrouble } from './tell-conditions.ts';

/** By the clock; those that a person asked for do not count, however many. */
const TESTS_REMEMBERED = 20;

/** One look at all replicas. One that cannot be looked at does not keep the others waiting; its error is thrown in the end. */
export async function scheduleTests(ports: ControllerPorts, options: CallOptions): Promise<void> {
  const jobs = new Map((await ports.catalog.jobs()).map(({ value }) => [value.id, value]));
  const failures: unknown[] = [];
  for (const { value: replica } of await ports.catalog.replicas()) {
    const job = replica.jobId === null ? undefined : jobs.get(replica.jobId);
    try {
      if (job?.testing != null) await driveTests(ports, job, job.testing, replica, options);
      else await withdrawTestTrouble(ports, replica);
    } catch (error) {
      failures.push(error);
      if (options.signal.aborted) break;
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function driveTests(
  ports: ControllerPorts,
  job: Job,
  { everySeconds, probes }: TestingPolicy,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  const vm = protectedVm(job, replica.sourceVmId);
  if (replica.phase !== 'Ready' || job.isPaused || vm?.excludedBecause !== null) return;
  const past = await ports.durable.operations({
    subject: replica.id,
    kind: 'test-failover',
    inputFlag: 'isScheduled',
    limit: TESTS_REMEMBERED,
  });
  const [last] = past;
  if (last?.state === 'failed') await tellTestTrouble(ports, replica, last);
  if (!isTestDue(everySeconds, past.map(pastTest), ports.clock.now())) return;
  const point = (await ports.catalog.points(replica.id)).at(-1);
  if (point === undefined) return;
  try {
    const request = { point, probes, holdSeconds: 0, isScheduled: true };
    await startTest(ports, replica, request, { ...options, seed: null });
  } catch (error) {
    // Somebody changed the replica in between: it is looked at again.
    const { kind } = asUnderstudyError(error);
    if (kind !== 'conflict' && kind !== 'missing') throw error;
  }
}

function pastTest({ createdAt, endedAt, state }: OperationRecord): PastTest {
  return { createdAt, endedAt, isCarriedOut: state === 'succeeded' };
}
