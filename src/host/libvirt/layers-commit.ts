/**
 * Merging working layers into the disks below them. Running: libvirt's active block commit with a pivot, a job of QEMU
 * that outlives us and carries the marks along. Off: `qemu-img commit`, which leaves the layer's mark behind, so that it is
 * merged into one of the same name below. Either way a repeated call goes on where the last one was cut off.
 *
 * One thing is libvirt's own and beyond us: if QEMU dies between its pivot and the moment that libvirtd has written down the
 * new disk (some milliseconds, and only if libvirtd dies with it), the definition still names the layer, and what the
 * guest wrote in between is behind it.
 */
import { rm } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FailbackCommand } from '../../ports/production-disks.ts';
import { wasRefusedBecause } from './errors.ts';
import { readPower } from './inspect.ts';
import {
  define,
  describe,
  type LayersContext,
  readWholeDefinition,
  requireLaid,
} from './layers-context.ts';
import { exists, imageError } from './layers-lay.ts';
import { type LaidLayer, type LayersRecord, writeLayers } from './layers-record.ts';
import { endServer } from './layers-server.ts';
import { mergedXml } from './layers-xml.ts';
import { changeBitmap, readImageHeader } from './marks-offline.ts';

const POLL_MS = 200;
const COMMIT_TIMEOUT_MS = 7 * 24 * 3_600_000;

type Progress = { readonly onProgress?: (done: number, total: number) => void };

export async function commit(
  context: LayersContext,
  command: FailbackCommand,
  options: CallOptions & Progress,
): Promise<void> {
  const { places, record } = await requireLaid(context, command);
  if (record.state === 'committed') return;
  if (record.vmId === null || record.state === 'laid' || record.state === 'attaching') {
    const reason = `Failback ${places.id} has not switched over: there is nothing to commit`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const settled = await endServer(context, { places, record }, options);
  const committing = await writeLayers(places, { ...settled, state: 'committing' });
  context.crashPoint('commit: begun');
  const { vmId, layers } = { ...committing, vmId: record.vmId };
  const total = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let done = 0;
  for (const layer of layers) {
    if (layer.below !== null && (await exists(layer.path))) {
      const report = (bytes: number) =>
        options.onProgress?.(done + Math.min(bytes, layer.sizeBytes), total);
      await mergeLayer(context, { vmId, layer, mark: committing.mark, report }, options);
    }
    done += layer.sizeBytes;
    options.onProgress?.(done, total);
    context.crashPoint(`commit: merged ${layer.key}`);
  }
  await defineMerged(context, { record: committing, vmId }, options);
  context.crashPoint('commit: defined');
  await removeMerged(context, { vmId, layers }, options);
  await rm(places.keptTpmPath, { force: true });
  await writeLayers(places, { ...committing, state: 'committed' });
}

type Merge = {
  readonly vmId: VmId;
  readonly layer: LaidLayer;
  readonly mark: string | null;
  readonly report: (doneBytes: number) => void;
};

/** The VM may be started or stopped while we work: each time the way that fits is taken anew. */
async function mergeLayer(
  context: LayersContext,
  merge: Merge,
  options: CallOptions,
): Promise<void> {
  const { virsh } = context;
  if ((await readPower(virsh, merge.vmId, options)) !== 'off') {
    await mergeRunning(context, merge, options);
    if ((await readPower(virsh, merge.vmId, options)) !== 'off') return;
  }
  if (await isOnLayer(context, merge, options)) await mergeOff(context, merge, options);
}

/** Whether the VM's disk is the layer, as far as its definition says. */
async function isOnLayer(
  context: LayersContext,
  { vmId, layer }: Merge,
  options: CallOptions,
): Promise<boolean> {
  const vm = await describe(context, vmId, options);
  return vm.disks.find(({ key }) => key === layer.key)?.path === layer.path;
}

async function mergeRunning(
  context: LayersContext,
  merge: Merge,
  { signal }: CallOptions,
): Promise<void> {
  const { virsh, clock } = context;
  const { vmId, layer } = merge;
  const { key, below } = layer;
  if (below === null) return;
  let isStarted = false;
  for (;;) {
    const job = await commitJob(context, merge, { signal });
    if (job === 'none') {
      if (!(await isOnLayer(context, merge, { signal }))) return;
      if ((await readPower(virsh, vmId, { signal })) === 'off') return;
      if (isStarted) {
        const reason = `the block job of disk ${key} ended before the layer was merged`;
        throw new UnderstudyError('hypervisor-refused', { action: 'blockcommit', reason });
      }
      // Not waited for by virsh, which would end the job with us.
      await virsh.run(['blockcommit', '--active', '--shallow', '--', vmId, key], { signal });
      context.crashPoint(`commit: job of ${key} begun`);
      isStarted = true;
      continue;
    }
    merge.report(job.doneBytes);
    if (job.isCopied) await pivot(context, merge, { signal });
    else await clock.sleep(POLL_MS, { signal });
  }
}

/**
 * What else works on the disk is seen before libvirt is asked: a backup job, ours for a restore point or somebody's, is listed as
 * the block job of each disk that it reads. Asked all the same, libvirt 9.0 refuses: "disk 'vda' already in active block job".
 */
async function commitJob(
  context: LayersContext,
  { vmId, layer }: Merge,
  options: CallOptions,
): Promise<'none' | { readonly doneBytes: number; readonly isCopied: boolean }> {
  let text: string;
  try {
    text = await context.virsh.run(['blockjob', '--raw', '--', vmId, layer.key], options);
  } catch (error) {
    if (wasRefusedBecause(error, /is not running/i)) return 'none';
    throw error;
  }
  const type = /^\s*type=(.*\S)/m.exec(text)?.[1];
  if (type === undefined) return 'none';
  if (!/^Active Block Commit$/i.test(type)) {
    const reason = `a job works on disk ${layer.key}: ${type}`;
    const { name: vm } = await describe(context, vmId, options);
    throw new UnderstudyError('vm-busy', { vm, reason });
  }
  const current = Number(/^\s*cur=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
  const end = Number(/^\s*end=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(current) || Number.isNaN(end)) return 'none';
  return { doneBytes: current, isCopied: current === end };
}

/** Copied is not yet ready: QEMU says so in its own time, and is asked again. */
async function pivot(
  { virsh, clock, crashPoint }: LayersContext,
  { vmId, layer }: Merge,
  options: CallOptions,
): Promise<void> {
  crashPoint(`commit: before pivot of ${layer.key}`);
  try {
    await virsh.run(['blockjob', '--pivot', '--', vmId, layer.key], options);
  } catch (error) {
    if (!wasRefusedBecause(error, /not ready|no current block job|no active|is not running/i)) {
      throw error;
    }
    await clock.sleep(POLL_MS, options);
  }
  crashPoint(`commit: after pivot of ${layer.key}`);
}

/** Written through, so that what says "committed" is never in the file before the content is. */
async function mergeOff(
  { processes, crashPoint }: LayersContext,
  { layer, mark }: Merge,
  options: CallOptions,
): Promise<void> {
  const { path, below, key } = layer;
  if (below === null) return;
  const run = async (action: string, args: readonly string[], timeoutMs: number) => {
    const command = { command: 'qemu-img', arguments: args, timeoutMs };
    const { exitCode, stderr } = await processes.run(command, options);
    if (exitCode !== 0) throw imageError(action, path, stderr);
  };
  const how = ['-q', '-t', 'writethrough', '-f', 'qcow2', '-d'];
  await run('merge', ['commit', ...how, '--', path], COMMIT_TIMEOUT_MS);
  crashPoint(`commit: content of ${key} merged`);
  if (below.format !== 'qcow2' || mark === null) return;
  const marksOf = async (image: string) => {
    const read = { path: image, format: 'qcow2', vm: key };
    return (await readImageHeader(processes, read, options)).bitmaps;
  };
  const change = { path: below.path, name: mark, vm: key };
  if ((await marksOf(below.path)).some(({ name }) => name === mark)) {
    await changeBitmap(processes, { action: 'remove', ...change }, options);
  }
  // One that the VM's process took with it when it crashed is gone: the next run says so.
  const own = (await marksOf(path)).find(({ name }) => name === mark);
  if (own === undefined || own.isInUse || !own.isRecording) return;
  await changeBitmap(processes, { action: 'add', ...change }, options);
  const from = ['--merge', mark, '-b', path, '-F', 'qcow2', '-f', 'qcow2', '--', below.path, mark];
  await run('carry the mark of', ['bitmap', ...from], 60_000);
}

/** Its own disks in the definition as it is now; a running VM has them already, and takes the rest up at its next start. */
async function defineMerged(
  context: LayersContext,
  { record, vmId }: { readonly record: LayersRecord; readonly vmId: VmId },
  options: CallOptions,
): Promise<void> {
  const { originalXml, layers } = record;
  if (originalXml === null) return;
  const current = await readWholeDefinition(context.virsh, vmId, options);
  await define(context, mergedXml(current, originalXml, layers), options);
}

/** Only when no VM has them any more. */
async function removeMerged(
  context: LayersContext,
  { vmId, layers }: { readonly vmId: VmId; readonly layers: readonly LaidLayer[] },
  options: CallOptions,
): Promise<void> {
  const vm = await describe(context, vmId, options);
  const used = new Set(vm.disks.map(({ path }) => path));
  for (const { path, below } of layers) {
    if (below === null) continue;
    if (used.has(path)) {
      const reason = `VM ${vm.name} still has ${path}`;
      throw new UnderstudyError('hypervisor-refused', { action: 'commit', reason });
    }
    await rm(path, { force: true });
  }
}
