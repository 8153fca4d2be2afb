/** What the life-cycle tests have in common: ordering operations, and remembering what every restore point must hold. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { failoverPreviewSchema } from '../../../src/contract/failover.ts';
import {
  type OperationAnswer,
  type OperationDetailAnswer,
  operationDetailSchema,
  operationSchema,
} from '../../../src/contract/operation.ts';
import type { PointAnswer } from '../../../src/contract/point.ts';
import type { ReplicaAnswer } from '../../../src/contract/replica.ts';
import { run } from '../../../src/rig/command.ts';
import { until } from '../../../src/rig/until.ts';
import type { BlockVm, Write } from './block-vm.ts';
import type { Image } from './bytes.ts';
import type { Stage } from './open-stage.ts';
import { describe, type Protection } from './operator.ts';

type Asking = Pick<Stage, 'attempt' | 'ask' | 'settled'>;

/** Runs a command that begins one operation, and waits for it. @returns it with its history, however it ended. */
export async function order(
  { attempt, ask }: Pick<Stage, 'attempt' | 'ask'>,
  ...args: readonly string[]
): Promise<OperationDetailAnswer> {
  const { stdout, stderr } = await attempt([...args, '-o', 'json']);
  const parsed = operationSchema.safeParse(parseJson(stdout));
  if (parsed.data === undefined) throw new Error(`understudy ${args.join(' ')}: ${stderr.trim()}`);
  return ask(['operation', 'show', parsed.data.id], operationDetailSchema);
}

/** As `order`; the operation must succeed. */
export async function succeed(
  stage: Pick<Stage, 'attempt' | 'ask'>,
  ...args: readonly string[]
): Promise<OperationDetailAnswer> {
  const operation = await order(stage, ...args);
  assert.equal(operation.state, 'succeeded', describe(operation));
  return operation;
}

/** Returns as soon as the operation is accepted. */
export function begin({ ask }: Asking, ...args: readonly string[]): Promise<OperationAnswer> {
  return ask([...args, '--no-wait'], operationSchema);
}

/** The command must be refused with this exit code and words. @returns what it said. */
export async function refused(
  { attempt }: Pick<Stage, 'attempt'>,
  args: readonly string[],
  exitCode: number,
  words: RegExp,
): Promise<string> {
  const outcome = await attempt(args);
  const said = `${args.join(' ')} ended with ${outcome.exitCode}: ${outcome.stderr}`;
  assert.equal(outcome.exitCode, exitCode, said);
  assert.match(outcome.stderr, words);
  return outcome.stderr;
}

export function preview({ ask }: Pick<Stage, 'ask'>, ...args: readonly string[]) {
  return ask(['failover', ...args, '--dry-run'], failoverPreviewSchema);
}

const timesSchema = z.object({
  pointId: z.string(),
  runningAfterMs: z.number(),
  answeringAfterMs: z.number().nullable(),
});

/** The figures that a failover ends with. */
export function timesOf({ result }: OperationAnswer): z.infer<typeof timesSchema> {
  return timesSchema.parse(result);
}

/** A guest without an operating system never answers: the failover goes on waiting until something follows it. */
export async function failOverBlockVm(
  stage: Asking & Pick<Stage, 'replica'>,
  protection: Protection,
  ...args: readonly string[]
): Promise<ReplicaAnswer> {
  const { id } = await stage.replica(protection);
  const operation = await begin(stage, 'failover', id, ...args);
  return untilRunning(stage, protection, operation.id);
}

/** Until the hypervisor calls the replica running. @throws Error with the history when the operation ends before. */
export async function untilRunning(
  { ask, replica }: Asking & Pick<Stage, 'replica'>,
  protection: Protection,
  operationId: string,
): Promise<ReplicaAnswer> {
  const shown = await until(`operation ${operationId} has started the replica`, async () => {
    const operation = await ask(['operation', 'show', operationId], operationDetailSchema);
    const isOver = ['failed', 'suspended', 'cancelled'].includes(operation.state);
    const isWaiting = operation.history.some(
      ({ step }) => step?.startsWith('await-guest') === true,
    );
    return isOver || isWaiting ? operation : undefined;
  });
  assert.ok(['running', 'succeeded'].includes(shown.state), describe(shown));
  return replica(protection);
}

/** Writes to a disk of a running replica as its guest would. */
export async function writeReplica(
  { recovery }: Pick<Stage, 'recovery'>,
  { targetVmId }: ReplicaAnswer,
  key: string,
  { offset, length, value }: Write,
): Promise<void> {
  assert.ok(targetVmId);
  const number = key.charCodeAt(key.length - 1) - 'a'.charCodeAt(0);
  const device = `/machine/peripheral/virtio-disk${number}/virtio-backend`;
  const command = `qemu-io -d ${device} "write -P ${value} ${offset} ${length}"`;
  const args = ['qemu-monitor-command', '--hmp', '--domain', targetVmId, '--cmd', command];
  // QEMU says only what goes wrong there.
  assert.equal((await recovery.virsh(args)).trim(), '');
}

export interface Archive {
  /** Remembers what is on the VM's disks now (or these images) as what this point must hold. */
  keep(point: PointAnswer, images?: ReadonlyMap<string, Image>): Promise<void>;
  expected(point: PointAnswer): ReadonlyMap<string, Image>;
  /** Compares all points that are listed with what was kept of them. @returns them. */
  requireAllExact(protection: Protection): Promise<readonly PointAnswer[]>;
}

/** The VM must not have been written to since the point was taken when `keep` is called. */
export function archiveOf(stage: Pick<Stage, 'points' | 'requireExact'>, vm: BlockVm): Archive {
  const kept = new Map<string, ReadonlyMap<string, Image>>();
  const expected = ({ id }: PointAnswer): ReadonlyMap<string, Image> => {
    const images = kept.get(id);
    assert.ok(images, `point ${id} is a known one`);
    return images;
  };
  return {
    async keep(point, given) {
      const folder = join(vm.folder, 'kept', point.id);
      await mkdir(folder, { recursive: true });
      const images = new Map<string, Image>();
      const held = given ?? new Map(vm.keys.map((key) => [key, vm.expected(key)]));
      for (const [key, image] of held) {
        const path = join(folder, `${key}.raw`);
        await run('cp', ['--sparse=always', '--', image.path, path]);
        images.set(key, { path, format: 'raw' });
      }
      kept.set(point.id, images);
    },
    expected,
    async requireAllExact(protection) {
      const points = await stage.points(protection);
      for (const point of points) await stage.requireExact(point, expected(point));
      return points;
    },
  };
}

/** How each disk was transferred. */
export function transfers(point: PointAnswer): readonly string[] {
  return point.disks.map(({ transfer }) => transfer);
}

export function conditionNames(replica: ReplicaAnswer): readonly string[] {
  return replica.conditions.map(({ name }) => name);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
