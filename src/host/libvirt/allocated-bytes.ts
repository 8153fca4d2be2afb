/** How much of a VM's disks is really there: what its first restore point takes at the target. */
import { stat } from 'node:fs/promises';
import { BLOCK_BYTES, blockCount } from '../../domain/bytes.ts';
import type { VmId } from '../../domain/ids.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { hasCode } from './errors.ts';
import { describeVm } from './inspect.ts';
import type { Virsh } from './virsh.ts';

export type AllocationTools = { readonly virsh: Virsh; readonly processes: Processes };

/** Of the disks that can be protected; null where one of them does not tell. */
export async function allocatedBytes(
  { virsh, processes }: AllocationTools,
  id: VmId,
  options: CallOptions,
): Promise<number | null> {
  const { disks } = await describeVm(virsh, id, options);
  const protectable = disks.filter(({ unsupportedBecause }) => unsupportedBecause === null);
  const held = await Promise.all(protectable.map((disk) => bytesHeld(processes, disk, options)));
  return held.reduce((sum, bytes) => (sum === null || bytes === null ? null : sum + bytes), 0);
}

/**
 * As `qemu-img measure` finds in the image and those below it: blocks with data. What a file takes on its own file system is
 * another figure: a raw disk that was allocated whole takes all its size there, and is empty. Of a running VM what its guest has
 * not flushed is not counted.
 */
export async function bytesHeld(
  processes: Processes,
  { path, format, sizeBytes }: Pick<VmDisk, 'path' | 'format' | 'sizeBytes'>,
  options: CallOptions,
): Promise<number | null> {
  // Devices do not tell: all of their blocks count as data.
  if (!(await isFile(path))) return null;
  const args = ['measure', '--force-share', '--output=json', '-f', format, '-O', 'qcow2'];
  const request = { command: 'qemu-img', arguments: [...args, '--', path] };
  try {
    const { exitCode, stdout } = await processes.run(request, options);
    return exitCode === 0 ? heldOf(stdout, sizeBytes) : null;
  } catch (error) {
    if (hasCode(error, 'command-missing', 'timed-out')) return null;
    throw error;
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false; // Whatever is in the way, nobody knows then.
  }
}

/** QAPI BlockMeasureInfo (qemu: qapi/block-core.json), in which the tables of an image of that size are counted like data. */
export function heldOf(text: string, sizeBytes: number): number | null {
  const told = JSON.parse(text) as { required?: unknown; 'fully-allocated'?: unknown } | null;
  const { required, 'fully-allocated': full } = told ?? {};
  if (typeof required !== 'number' || typeof full !== 'number') return null;
  const tableBytes = full - blockCount(sizeBytes) * BLOCK_BYTES;
  return Math.min(Math.max(0, required - tableBytes), sizeBytes);
}
