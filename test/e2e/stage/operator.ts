/** What a person does with the command line, as functions with parsed answers. */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { jobCreatedSchema } from '../../../src/contract/job.ts';
import {
  type OperationAnswer,
  type OperationDetailAnswer,
  operationDetailSchema,
  operationSchema,
} from '../../../src/contract/operation.ts';
import { type PointAnswer, pointSchema } from '../../../src/contract/point.ts';
import { type ReplicaAnswer, replicaSchema } from '../../../src/contract/replica.ts';
import type { CliOutcome, ServerProcess } from '../../../src/rig/server-process.ts';
import { until } from '../../../src/rig/until.ts';

/** A VM under the care of a job of its own. */
export interface Protection {
  readonly job: string;
  readonly vmId: string;
  readonly findings: readonly { readonly element: string; readonly message: string }[];
}

export interface Operator {
  /** Runs a command that must succeed, with `-o json`. */
  ask<T>(args: readonly string[], schema: z.ZodType<T>): Promise<T>;
  /** Runs a command whose outcome is the caller's to judge. */
  attempt(args: readonly string[]): Promise<CliOutcome>;
  /** A job of one VM between the two hosts that runs only by hand; `options` are added to `job create`. */
  protect(vm: string, options?: readonly string[]): Promise<Protection>;
  /** Replicates. @throws AssertionError with the history when the run does not succeed. @returns the new point. */
  replicate(protection: Protection): Promise<PointAnswer>;
  /** Replicates, and returns the operation however it ended. */
  tryReplicate(protection: Protection): Promise<OperationDetailAnswer>;
  /** Begins a run. */
  beginReplicate(protection: Protection): Promise<OperationAnswer>;
  /** Waits until an operation has ended or is suspended. Works across restarts of the server. */
  settled(operationId: string): Promise<OperationDetailAnswer>;
  replica(protection: Protection): Promise<ReplicaAnswer>;
  /** Oldest first. */
  points(protection: Protection): Promise<readonly PointAnswer[]>;
}

const SETTLED = new Set(['suspended', 'succeeded', 'failed', 'cancelled']);

export function createOperator(server: ServerProcess): Operator {
  let jobs = 0;
  const ask = async <T>(args: readonly string[], schema: z.ZodType<T>): Promise<T> =>
    schema.parse(await server.json(args));
  const show = (id: string) => ask(['operation', 'show', id], operationDetailSchema);
  const replica = async ({ vmId }: Protection): Promise<ReplicaAnswer> => {
    const found = (await ask(['replica', 'list'], z.array(replicaSchema))).find(
      ({ sourceVmId, phase }) => sourceVmId === vmId && phase !== 'Removed',
    );
    assert.ok(found, `VM ${vmId} has a replica`);
    return found;
  };
  const points = async (protection: Protection): Promise<readonly PointAnswer[]> =>
    ask(['point', 'list', (await replica(protection)).id], z.array(pointSchema));
  const run = async ({ job }: Protection, ...options: readonly string[]) => {
    const args = ['job', 'run', job, ...options, '-o', 'json'];
    const { exitCode, stdout, stderr } = await server.cli(args);
    const parsed = z.array(operationSchema).length(1).safeParse(parseJson(stdout));
    const [operation] = parsed.data ?? [];
    if (operation === undefined) {
      throw new Error(`understudy ${args.join(' ')} ended with ${exitCode}: ${stderr.trim()}`);
    }
    return operation;
  };
  const tryReplicate = async (protection: Protection) => show((await run(protection)).id);
  return {
    ask,
    attempt: (args) => server.cli(args),
    replica,
    points,
    tryReplicate,
    async protect(vm, options = []) {
      jobs += 1;
      const name = `job-${jobs}`;
      const hosts = ['--source', 'production', '--target', 'recovery'];
      // With `=`, because a name may begin with dashes.
      const args = ['job', 'create', name, ...hosts, `--vm=${vm}`, '--no-schedule', ...options];
      const { job, findings } = await ask(args, jobCreatedSchema);
      const [member] = job.vms;
      assert.ok(member);
      return { job: job.id, vmId: member.id, findings };
    },
    async replicate(protection) {
      const operation = await tryReplicate(protection);
      assert.equal(operation.state, 'succeeded', describe(operation));
      const newest = (await points(protection)).at(-1);
      assert.ok(newest);
      return newest;
    },
    beginReplicate: (protection) => run(protection, '--no-wait'),
    settled: (operationId) =>
      until(
        `operation ${operationId} settles`,
        async () => {
          const operation = await show(operationId);
          return SETTLED.has(operation.state) ? operation : undefined;
        },
        { deadlineMs: 120_000, pauseMs: 100 },
      ),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** For messages of failed assertions. */
export function describe({ id, state, error, history }: OperationDetailAnswer): string {
  const steps = history.map(({ type, step, message }) => `  ${type} ${step ?? ''} ${message}`);
  return `${id} is ${state}: ${JSON.stringify(error)}\n${steps.join('\n')}`;
}
