/** Test failovers and bisects: how they are asked for, ended early, and what they left to look at. */
import { UnderstudyError } from '../../domain/error.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import { formatProbe, type Probe } from '../../domain/test-failover/probe.ts';
import type { CallOptions } from '../../ports/call.ts';
import type {
  CommandOptions,
  LastTest,
  Reference,
  TestOrder,
  TestView,
} from '../../ports/controller.ts';
import type { Claims } from '../../ports/durable.ts';
import { END_TEST } from '../test-points.ts';
import { accept } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findOperation, findPoint, findReplica } from './references.ts';

/** One operation per point; they run at once as far as the host's slots allow. */
export async function testFailover(
  ports: ControllerPorts,
  reference: Reference,
  order: TestOrder,
  options: CommandOptions,
): Promise<readonly OperationRecord[]> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const points = await ports.catalog.points(replica.id);
  const chosen = order.points.map((selector) => findPoint(points, selector, replica));
  const started: OperationRecord[] = [];
  for (const [index, point] of [...new Set(chosen)].entries()) {
    const seed = options.seed === null ? null : `${options.seed}-${index}`;
    const request = { point, probes: order.probes, holdSeconds: order.holdSeconds };
    started.push(await startTest(ports, replica, request, { ...options, seed }));
  }
  return started;
}

export type TestRequest = {
  readonly point: RestorePoint;
  readonly probes: readonly Probe[];
  readonly holdSeconds: number;
  /** By the clock and not by a person, who then has to be told how it went. */
  readonly isScheduled?: boolean;
};

export async function startTest(
  ports: ControllerPorts,
  replica: Replica,
  { point, probes, holdSeconds, isScheduled = false }: TestRequest,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { slot } = await testSlot(ports, replica);
  return accept(
    ports,
    replica,
    {
      kind: 'test-failover',
      allowedAs: 'test-failover',
      title: `Test ${replica.name} at ${point.id}`,
      input: { pointId: point.id, probes: probes.map(formatProbe), holdSeconds, isScheduled },
      exclusive: [],
      slots: [slot],
    },
    options,
  );
}

/** Takes as many slots as it boots points at once. */
export async function bisect(
  ports: ControllerPorts,
  reference: Reference,
  probes: readonly Probe[],
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const points = await ports.catalog.points(replica.id);
  if (points.length === 0) {
    throw new UnderstudyError('point-missing', { replica: replica.name, point: 'yet' });
  }
  const { slot } = await testSlot(ports, replica);
  const width = Math.min(slot.limit, points.length);
  return accept(
    ports,
    replica,
    {
      kind: 'bisect',
      allowedAs: 'bisect',
      title: `Find the newest point of ${replica.name} that passes`,
      input: { probes: probes.map(formatProbe), width },
      exclusive: [],
      slots: Array.from({ length: width }, () => slot),
    },
    options,
  );
}

async function testSlot(
  { catalog }: ControllerPorts,
  { targetHostId }: Replica,
): Promise<{ readonly slot: Claims['slots'][number] }> {
  const host = await catalog.host(targetHostId);
  if (host === null) throw new UnderstudyError('host-missing', { host: targetHostId });
  return { slot: { name: `test:${targetHostId}`, limit: host.value.testSlots } };
}

/** Ends the hold of a test; one that is still probing finishes its probes and is not held. Idempotent. */
export async function endTest(
  { durable }: ControllerPorts,
  reference: Reference,
): Promise<OperationRecord> {
  const operation = await findTest(durable, reference);
  if (operation.endedAt === null) await durable.send(operation.id, END_TEST, true);
  return operation;
}

async function findTest(
  durable: ControllerPorts['durable'],
  reference: Reference,
): Promise<OperationRecord> {
  const operation = await findOperation(durable, reference);
  if (operation.kind === 'test-failover' || operation.kind === 'bisect') return operation;
  throw new UnderstudyError('operation-missing', { operation: `${reference} that is a test` });
}

export async function testEvidence(
  ports: ControllerPorts,
  reference: Reference,
  file: { readonly testId: string; readonly name: string },
  options: CallOptions,
): Promise<{ readonly type: string; readonly base64: string }> {
  const operation = await findTest(ports.durable, reference);
  const kept = testsOf(operation)
    .filter(({ testId }) => testId === file.testId)
    .flatMap(({ evidence }) => evidence)
    .find(({ name }) => name === file.name);
  if (kept === undefined) {
    throw new UnderstudyError('evidence-missing', { test: file.testId, name: file.name });
  }
  const replica = (await ports.catalog.replicas()).find(
    ({ value }) => value.id === operation.subject,
  );
  if (replica === undefined) {
    throw new UnderstudyError('replica-missing', { replica: operation.subject });
  }
  const { testBench } = await ports.hosts.ports(replica.value.targetHostId);
  return { type: kept.type, base64: await testBench.evidence(file, options) };
}

/** What the result of a test or bisect tells of the points it booted. */
function testsOf({ kind, result }: OperationRecord): readonly TestView[] {
  if (result === null) return [];
  if (kind === 'test-failover') return [result as unknown as TestView];
  return (result as unknown as { readonly tests: readonly TestView[] }).tests;
}

const TESTS_CONSIDERED = 50;

/** The newest test that was carried out, and when a point last passed; from the history that is kept. */
export async function lastTestOf(
  { durable }: ControllerPorts,
  { id }: Replica,
): Promise<LastTest | null> {
  const filter = { subject: id, kind: 'test-failover', limit: TESTS_CONSIDERED } as const;
  const ended = (await durable.operations(filter)).flatMap((operation) => {
    const [test] = operation.state === 'succeeded' ? testsOf(operation) : [];
    return test === undefined || operation.endedAt === null
      ? []
      : [{ operationId: operation.id, at: operation.endedAt, test }];
  });
  const [newest] = ended;
  if (newest === undefined) return null;
  const proof = ended.find(({ test }) => test.passed && test.verdicts.length > 0);
  return {
    operationId: newest.operationId,
    at: newest.at,
    pointId: newest.test.pointId,
    passed: newest.test.passed,
    summary: newest.test.summary,
    lastPassedAt: proof?.at ?? null,
  };
}
