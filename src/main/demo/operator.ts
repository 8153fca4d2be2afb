/** Types the commands for the audience: each is shown as a person would type it, run, and checked. */
import { z } from 'zod';
import {
  type OperationAnswer,
  operationDetailSchema,
  operationSchema,
} from '../../contract/operation.ts';
import type { CliOutcome, ServerProcess } from '../../rig/server-process.ts';
import type { Report } from './report.ts';

export interface Operator {
  /** Shows the command and what it prints, or the lines of it that matter. @throws Error when it fails. */
  type(args: readonly string[], isEssential?: (line: string) => boolean): Promise<void>;
  /** Shows the command and its complaint, whatever the outcome. */
  attempt(args: readonly string[]): Promise<CliOutcome>;
  /** Shows the command; the answer is for the caller to tell. @throws Error when it fails. */
  order<T>(args: readonly string[], schema: z.ZodType<T>): Promise<T>;
  /** Asks without showing it. */
  ask<T>(args: readonly string[], schema: z.ZodType<T>): Promise<T>;
  /** Replicates the job's only VM. */
  replicate(job: string): Promise<OperationAnswer>;
  /** When a step of an operation began and ended, ms since 1970. */
  stepTimes(operation: string, step: string): Promise<{ fromMs: number; toMs: number }>;
}

export function createOperator(
  server: ServerProcess,
  report: Report,
  signal: AbortSignal,
): Operator {
  const ask = async <T>(args: readonly string[], schema: z.ZodType<T>): Promise<T> =>
    schema.parse(await server.json(args, { signal }));
  const order = <T>(args: readonly string[], schema: z.ZodType<T>): Promise<T> => {
    report.command(args);
    return ask(args, schema);
  };
  return {
    async type(args, isEssential = () => true) {
      report.command(args);
      const { exitCode, stdout, stderr } = await server.cli(args, { signal });
      if (exitCode !== 0) throw new Error(`understudy ${args.join(' ')}: ${stderr.trim()}`);
      report.output(stdout.split('\n').filter(isEssential).join('\n'));
    },
    async attempt(args) {
      report.command(args);
      const outcome = await server.cli(args, { signal });
      report.output(outcome.stderr.trim());
      return outcome;
    },
    order,
    ask,
    async replicate(job) {
      const [operation] = await order(['job', 'run', job], z.array(operationSchema).length(1));
      if (operation === undefined) throw new Error(`Job ${job} began nothing`);
      return operation;
    },
    async stepTimes(operation, step) {
      const { history } = await ask(['operation', 'show', operation], operationDetailSchema);
      const at = (type: string): number => {
        const event = history.find(
          (candidate) => candidate.step === step && candidate.type === type,
        );
        if (event === undefined) throw new Error(`${operation} tells of no ${type} of ${step}`);
        return Date.parse(event.at);
      };
      return { fromMs: at('step-started'), toMs: at('step-succeeded') };
    },
  };
}
