/**
 * Test failover: boots a restore point where it can meet nobody, and finds out whether it serves. Neither the phase nor
 * the replica VM is touched. It succeeds when the test was carried out; whether the point passed is its result.
 */
import { UnderstudyError } from '../domain/error.ts';
import { pointId, replicaId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { PointTest } from '../domain/test-failover/point-test.ts';
import { parseProbe } from '../domain/test-failover/probe.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { flagIn, numberIn, textIn, textsIn } from './input.ts';
import { loadReplica } from './replica-facts.ts';
import { testPoints } from './test-points.ts';

export function testFailoverDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'test-failover',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const { replica } = await loadReplica(ports, context, id, 'test-failover');
      const point = await loadPoint(ports, context, replica, input);
      const [result] = await testPoints(ports, context, {
        replica,
        target: await actingFor(ports, replica.id, replica.targetHostId),
        points: [point],
        probes: textsIn(input, 'probes').map((text) => parseProbe(text)),
        holdSeconds: numberIn(input, 'holdSeconds'),
      });
      if (result == null) {
        throw new UnderstudyError('point-missing', { replica: replica.name, point: point.id });
      }
      await recordVerdict(context, replica, result, flagIn(input, 'isScheduled'));
      return result;
    },
  };
}

function loadPoint(
  { catalog }: EnginePorts,
  context: OperationContext,
  { id, name }: Replica,
  input: Json,
): Promise<RestorePoint> {
  const wanted = pointId(textIn(input, 'pointId'));
  return context.step<RestorePoint>('load-point', {
    do: async () => {
      const found = (await catalog.points(id)).find((candidate) => candidate.id === wanted);
      if (found !== undefined) return found;
      throw new UnderstudyError('point-missing', { replica: name, point: wanted });
    },
    undo: 'nothing',
  });
}

/** Whoever tests by hand sees the result; one that ran by itself has to be told. A test that asked nothing proves nothing. */
async function recordVerdict(
  context: OperationContext,
  { id }: Replica,
  { passed, verdicts, summary, pointId: point }: PointTest,
  isScheduled: boolean,
): Promise<void> {
  const since = await context.now('tested-at');
  if (passed && verdicts.length > 0) {
    const cleared = { type: 'condition-cleared', replicaId: id, name: 'test-failed' } as const;
    await context.record('record-verdict', [cleared], { undo: 'nothing' });
  } else if (!passed && isScheduled) {
    const message =
      `The scheduled test of restore point ${point} failed. ${summary} ` +
      `See \`understudy test show ${context.operationId}\`; ` +
      '`understudy bisect` finds the newest point that passes.';
    const condition = { name: 'test-failed', message, since } as const;
    const raised = { type: 'condition-raised', replicaId: id, condition } as const;
    await context.record('record-verdict', [raised], { undo: 'nothing' });
  }
}
