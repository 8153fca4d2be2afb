/** What every act of the demo has at hand. */
import type { PointAnswer } from '../../contract/point.ts';
import type { Answer, RecordBounds } from './ledger-watch.ts';
import type { Operator } from './operator.ts';
import type { Report } from './report.ts';
import type { Stage } from './stage.ts';

export type Scene = Stage & {
  readonly report: Report;
  readonly operator: Operator;
  readonly signal: AbortSignal;
};

export const jobName = 'ledger-job';
export const replicaName = 'ledger-replica';
/** Of the replica of the replica that `--keep` makes. */
export const standbyName = 'ledger-replica-standby';

/** A restore point, and what its instant must look like from the outside. */
export type TakenPoint = {
  readonly point: PointAnswer;
  readonly bounds: RecordBounds;
};

/** The source VM when it was lost. */
export type Loss = { readonly lastAnswer: Answer; readonly atMs: number };
