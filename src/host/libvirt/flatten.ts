/**
 * Makes disks independent of the layers below them. Running: libvirt's block pull, a job of QEMU that outlives us; a
 * repeated call finds it and goes on waiting. Off: `qemu-img rebase` to no backing file, which copies first and changes
 * the header last. Written through, because else the header may be in the file before the tables of what was copied are,
 * and one that is killed then leaves a disk without half of its content (tried); so it can be killed and repeated.
 *
 * A pull ends by changing the header at once, while QEMU keeps the tables that say where the pulled blocks are in memory
 * until somebody flushes: a QEMU killed then leaves a disk that stands alone and reads as zeros (tried with 7.2).
 * So each pulled disk is flushed before it counts as flat.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { DiskKey, VmId } from '../../domain/ids.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Processes } from '../../ports/processes.ts';
import { wasRefusedBecause } from './errors.ts';
import { describeVm, readPower } from './inspect.ts';
import type { Virsh } from './virsh.ts';
import { attribute, child, findAll, parseRoot } from './xml.ts';

const POLL_MS = 200;
const REBASE_TIMEOUT_MS = 7 * 24 * 3_600_000;

export type FlattenTools = {
  readonly virsh: Virsh;
  readonly clock: Clock;
  readonly processes: Processes;
};

export type FlattenRequest = {
  readonly vmId: VmId;
  readonly disks: readonly DiskKey[];
  readonly onProgress: (done: number, total: number) => void;
};

export async function flattenDisks(
  tools: FlattenTools,
  { vmId, disks, onProgress }: FlattenRequest,
  options: CallOptions,
): Promise<void> {
  const vm = await describeVm(tools.virsh, vmId, options);
  const chosen = disks.map((key) => {
    const disk = vm.disks.find((candidate) => candidate.key === key);
    if (disk !== undefined) return disk;
    throw new UnderstudyError('unsupported-disk', {
      disk: key,
      vm: vm.name,
      reason: 'it has none',
    });
  });
  const total = chosen.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  let before = 0;
  for (const disk of chosen) {
    const report = (share: number) =>
      onProgress(before + Math.floor(disk.sizeBytes * share), total);
    await flattenDisk(tools, { vmId, disk, report }, options);
    before += disk.sizeBytes;
    onProgress(before, total);
  }
}

type DiskTask = {
  readonly vmId: VmId;
  readonly disk: VmDisk;
  readonly report: (share: number) => void;
};

/** The VM may be started or stopped while we work: each time the way that fits is taken anew. */
async function flattenDisk(
  tools: FlattenTools,
  task: DiskTask,
  options: CallOptions,
): Promise<void> {
  const power = await readPower(tools.virsh, task.vmId, options);
  if (power === 'off') {
    await rebase(tools.processes, task.disk, options);
    return;
  }
  await pull(tools, task, options);
  await flush(tools, task, options);
  if ((await readPower(tools.virsh, task.vmId, options)) === 'off') {
    await rebase(tools.processes, task.disk, options);
  }
}

/** Waits for the job that is there or starts one. A job that vanished with layers left below has failed. */
async function pull(
  { virsh, clock }: FlattenTools,
  { vmId, disk, report }: DiskTask,
  { signal }: CallOptions,
): Promise<void> {
  let isStarted = false;
  for (;;) {
    const share = await jobShare(virsh, vmId, disk.key, { signal });
    if (share !== null) {
      report(share);
      await clock.sleep(POLL_MS, { signal });
      continue;
    }
    if (await isFlatOrOff(virsh, vmId, disk.key, { signal })) return;
    if (isStarted) {
      const reason = `the block job of disk ${disk.key} ended before the disk was complete`;
      throw new UnderstudyError('hypervisor-refused', { action: 'blockpull', reason });
    }
    await virsh.run(['blockpull', '--', vmId, disk.key], { signal });
    isStarted = true;
  }
}

/** Null: no job. */
async function jobShare(
  virsh: Virsh,
  id: VmId,
  key: DiskKey,
  options: CallOptions,
): Promise<number | null> {
  try {
    const text = await virsh.run(['blockjob', '--raw', '--', id, key], options);
    const current = Number(/^\s*cur=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
    const end = Number(/^\s*end=(\d+)/m.exec(text)?.[1] ?? Number.NaN);
    if (Number.isNaN(current) || Number.isNaN(end)) return null;
    return end === 0 ? 0 : Math.min(1, current / end);
  } catch (error) {
    if (wasRefusedBecause(error, /is not running/i)) return null;
    throw error;
  }
}

async function isFlatOrOff(
  virsh: Virsh,
  id: VmId,
  key: DiskKey,
  options: CallOptions,
): Promise<boolean> {
  if ((await readPower(virsh, id, options)) === 'off') return true;
  const domain = parseRoot(await virsh.run(['dumpxml', '--', id], options), 'domain', id);
  const disk = findAll(domain, 'devices/disk').find(
    (element) => attribute(child(element, 'target'), 'dev') === key,
  );
  if (disk === undefined) return false;
  // A running disk at the end of its chain has an empty <backingStore/>.
  const below = child(disk, 'backingStore');
  return below === null || child(below, 'source') === null;
}

/**
 * libvirt has no command for it, but for suspending the VM, which would stay suspended if we died there; so QEMU is asked
 * itself. Its answer is empty whether it could or not: whoever removes the layers looks into the file.
 */
async function flush(
  { virsh }: FlattenTools,
  { vmId, disk }: DiskTask,
  options: CallOptions,
): Promise<void> {
  if (disk.format !== 'qcow2') return;
  const ask = (...args: string[]) => virsh.run(['qemu-monitor-command', ...args], options);
  const query = { execute: 'query-named-block-nodes', arguments: { flat: true } };
  try {
    const node = nodeOf(await ask('--', vmId, JSON.stringify(query)), disk.path);
    if (node === null) {
      const reason = `QEMU has no disk ${disk.key} at ${disk.path}`;
      throw new UnderstudyError('hypervisor-refused', { action: 'flush', reason });
    }
    await ask('--hmp', '--', vmId, `qemu-io ${node} flush`);
  } catch (error) {
    // One that quits flushes first.
    if (!wasRefusedBecause(error, /is not running/i)) throw error;
  }
}

/** The name of QEMU's node for the image (QEMU qapi/block-core.json, BlockDeviceInfo); null: none. */
function nodeOf(text: string, path: string): string | null {
  const { return: nodes } = JSON.parse(text) as {
    return: { 'node-name'?: string; drv: string; image?: { filename?: string } }[];
  };
  const node = nodes.find(({ drv, image }) => drv === 'qcow2' && image?.filename === path);
  return node?.['node-name'] ?? null;
}

async function rebase(processes: Processes, disk: VmDisk, options: CallOptions): Promise<void> {
  if (disk.format !== 'qcow2') return;
  const run = (args: readonly string[], timeoutMs: number) =>
    processes.run({ command: 'qemu-img', arguments: args, timeoutMs }, options);
  const info = await run(['info', '--output=json', '-f', 'qcow2', '--', disk.path], 60_000);
  if (info.exitCode !== 0) throw refused('qemu-img info', info.stderr);
  if (!/^ {4}"backing-filename": /m.test(info.stdout)) return;
  const how = ['-t', 'writethrough', '-f', 'qcow2', '-b', ''];
  const done = await run(['rebase', ...how, '--', disk.path], REBASE_TIMEOUT_MS);
  if (done.exitCode !== 0) throw refused('qemu-img rebase', done.stderr);
}

function refused(action: string, stderr: string): UnderstudyError {
  const reason = stderr.trim().split('\n').at(-1) ?? '';
  return new UnderstudyError('hypervisor-refused', { action, reason });
}
