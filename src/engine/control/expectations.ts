/** How long things will take, from how long they took: medians of earlier operations, measured and not promised. */
import { MIB } from '../../domain/bytes.ts';
import type { OperationKind, OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { FailoverPreview } from '../../ports/controller.ts';
import type { ExpectedFailback } from '../../ports/orders.ts';
import type { ControllerPorts } from './controller-ports.ts';

const MEASUREMENTS_CONSIDERED = 20;
/** Of less, the fixed cost of a run is measured and not the rate. */
const COPIED_BYTES_MIN = 4 * MIB;

export async function expectedOfFailover(
  ports: ControllerPorts,
  replica: Replica,
): Promise<
  Pick<FailoverPreview, 'expectedRunningMs' | 'expectedAnsweringMs' | 'measuredFailovers'>
> {
  const past = await succeeded(ports, replica, 'failover');
  return {
    expectedRunningMs: median(past.map(({ result }) => figure(result, 'runningAfterMs'))),
    expectedAnsweringMs: median(past.map(({ result }) => figure(result, 'answeringAfterMs'))),
    measuredFailovers: past.length,
  };
}

/** `copyBytes`: what there is to be copied at least; null: unknown. */
export async function expectedOfFailback(
  ports: ControllerPorts,
  replica: Replica,
  copyBytes: number | null,
): Promise<ExpectedFailback> {
  const rate = await bytesPerMs(ports, replica);
  const moves = [
    ...(await succeeded(ports, replica, 'switch-over')),
    ...(await succeeded(ports, replica, 'planned-failover')),
  ];
  return {
    expectedCopyMs: rate === null || copyBytes === null ? null : Math.round(copyBytes / rate),
    expectedDowntimeMs: median(moves.map(({ result }) => figure(result, 'runningAfterMs'))),
    measuredMoves: moves.length,
  };
}

async function bytesPerMs(ports: ControllerPorts, replica: Replica): Promise<number | null> {
  const past = [
    ...(await succeeded(ports, replica, 'failback')),
    ...(await succeeded(ports, replica, 'replicate')),
  ];
  return median(past.map(rateOf));
}

function rateOf({ result, startedAt, endedAt }: OperationRecord): number | null {
  const sentBytes = figure(result, 'sentBytes');
  if (sentBytes === null || sentBytes < COPIED_BYTES_MIN) return null;
  if (startedAt === null || endedAt === null || endedAt <= startedAt) return null;
  return sentBytes / (endedAt - startedAt);
}

async function succeeded(
  { durable }: ControllerPorts,
  { id: subject }: Replica,
  kind: OperationKind,
): Promise<readonly OperationRecord[]> {
  const past = await durable.operations({ subject, kind, limit: MEASUREMENTS_CONSIDERED });
  return past.filter(({ state }) => state === 'succeeded');
}

function figure(result: OperationRecord['result'], name: string): number | null {
  if (result === null || typeof result !== 'object' || !(name in result)) return null;
  const value = (result as Readonly<Record<string, unknown>>)[name];
  return typeof value === 'number' ? value : null;
}

function median(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known[Math.floor((known.length - 1) / 2)] ?? null;
}
