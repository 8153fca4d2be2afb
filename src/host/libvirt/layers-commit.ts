/**
 * Merging working layers into the disks below them. Running: libvirt's active block commit with a pivot, a job of QEMU
 * that outlives us and carries the marks along. Off: `qemu-img commit`, which leaves the layer's mark behind, so that it is
 * merged into one of the same name below. Either way a repeated call goes on where the last one was cut off.
 */
import { rm } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FailbackCommand } from '../../ports/production-disks.ts';
import { wasRefusedBecause } from './errors.ts';
import { readDefinition, readPower } from './inspect.ts';
import { define, describe, type LayersContext, requireLaid } from './layers-context.ts';
import { exists, imageError } from './layers-lay.ts';
import { type LaidLayer, type LayersRecord, writeLayers } from './layers-record.ts';
import { endServer } from './layers-server.ts';
import { attachedXml } from './layers-xml.ts';
import { changeBitmap, readImageHeader } from './marks-offline.ts';
import { nvramPath } from './sidecars.ts';
import { parseRoot } from './xml.ts';

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
  if (record.vmId === null || record.state === 'laid') {
    const reason = `Failback ${places.id} has not switched over: there is nothing to commit`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const settled = await endServer(context, { places, record }, options);
  const committing = await writeLayers(places, { ...settled, state: 'committing' });
  context.crashPoint('commit: begun');
  const { vmId, layers } = { ...committing, vmId: record.vmId };
  for (const [index, layer] of layers.entries()) {
    if (layer.below !== null && (await exists(layer.path))) {
      await mergeLayer(context, { vmId, layer, mark: committing.mark }, options);
    }
    options.onProgress?.(index + 1, layers.length);
    context.crashPoint(`commit: merged ${index}`);
  }
  await defineMerged(context, committing, options);
  context.crashPoint('commit: defined');
  await removeMerged(context, { vmId, layers }, options);
  await rm(places.keptTpmPath, { force: true });
  await writeLayers(places, { ...committing, state: 'committed' });
}

type Merge = {
  readonly vmId: VmId;
  readonly layer: LaidLayer;
  readonly mark: string | null;
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
      const how = ['--active', '--shallow', '--base', below.path, '--top', layer.path];
      await virsh.run(['blockcommit', ...how, '--', vmId, key], { signal });
      isStarted = true;
      continue;
    }
    if (job === 'ready') await pivot(context, merge, { signal });
    else await clock.sleep(POLL_MS, { signal });
  }
}

async function commitJob(
  { virsh }: LayersContext,
  { vmId, layer }: Merge,
  options: CallOptions,
): Promise<'none' | 'copying' | 'ready'> {
  let text: string;
  try {
    text = await virsh.run(['blockjob', '--raw', '--', vmId, layer.key], options);
  } catch (error) {
    if (wasRefusedBecause(error, /is not running/i)) return 'none';
    throw error;
  }
  const current = Number(/^\s*cur=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
  const end = Number(/^\s*end=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(current) || Number.isNaN(end)) return 'none';
  return current === end ? 'ready' : 'copying';
}

/** Copied is not yet ready: QEMU says so in its own time, and is asked again. */
async function pivot(
  { virsh, clock }: LayersContext,
  { vmId, layer }: Merge,
  options: CallOptions,
): Promise<void> {
  try {
    await virsh.run(['blockjob', '--pivot', '--', vmId, layer.key], options);
  } catch (error) {
    if (!wasRefusedBecause(error, /not ready|no current block job|no active|is not running/i)) {
      throw error;
    }
    await clock.sleep(POLL_MS, options);
  }
}

/** Written through, so that what says "committed" is never in the file before the content is. */
async function mergeOff(
  { processes }: LayersContext,
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
  if (below.format !== 'qcow2' || mark === null) return;
  const image = { path: below.path, format: 'qcow2', vm: key };
  const { bitmaps } = await readImageHeader(processes, image, options);
  const change = { path: below.path, name: mark, vm: key };
  if (bitmaps.some(({ name }) => name === mark)) {
    await changeBitmap(processes, { action: 'remove', ...change }, options);
  }
  await changeBitmap(processes, { action: 'add', ...change }, options);
  const from = ['--merge', mark, '-b', path, '-F', 'qcow2', '-f', 'qcow2', '--', below.path, mark];
  await run('carry the mark of', ['bitmap', ...from], 60_000);
}

/** Its own disks, and the changes that were asked for; a running VM takes it up at its next start. */
async function defineMerged(
  context: LayersContext,
  { originalXml, layers, changes, hasNvram, vmId, startsWithHost }: LayersRecord,
  options: CallOptions,
): Promise<void> {
  if (originalXml === null || vmId === null) return;
  const own = hasNvram ? await nvramOf(context, vmId, options) : null;
  const text = attachedXml(originalXml, { layers, changes, isMerged: true, nvramPath: own });
  await define(context, text, options);
  if (startsWithHost) await context.virsh.run(['autostart', '--', vmId], options);
}

/** Where the VM has its firmware's variables now: the file stays, because a running QEMU has it open. */
async function nvramOf(
  { virsh }: LayersContext,
  id: VmId,
  options: CallOptions,
): Promise<string | null> {
  const text = await readDefinition(virsh, id, options);
  return nvramPath(parseRoot(text, 'domain', id));
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
