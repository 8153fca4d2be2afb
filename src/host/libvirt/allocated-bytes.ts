/** How much of a VM's disks is really there: what its first restore point takes at the target, or a little less. */
import type { VmId } from '../../domain/ids.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
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
  const held = await Promise.all(protectable.map((disk) => ofDisk(processes, disk, options)));
  return held.reduce((sum, bytes) => (sum === null || bytes === null ? null : sum + bytes), 0);
}

/**
 * libvirt's own `Allocation` is of the topmost image only, and of a running VM the highest offset that was written since it
 * began. Images of a chain may hide each other's blocks, but never hold more than the disk together.
 */
async function ofDisk(
  processes: Processes,
  { path, format, sizeBytes }: VmDisk,
  options: CallOptions,
): Promise<number | null> {
  // Block devices do not tell: all of them count as nothing.
  if (path.startsWith('/dev/')) return null;
  const args = ['info', '--force-share', '--backing-chain', '--output=json', '-f', format];
  const request = { command: 'qemu-img', arguments: [...args, '--', path] };
  const { exitCode, stdout } = await processes.run(request, options);
  return exitCode === 0 ? Math.min(chainBytes(stdout), sizeBytes) : null;
}

/** QAPI ImageInfo (qemu: qapi/block-core.json), one for each image. */
export function chainBytes(text: string): number {
  const images: unknown = JSON.parse(text);
  if (!Array.isArray(images)) return 0;
  return images.reduce((sum: number, image: unknown) => {
    const bytes = (image as { 'actual-size'?: unknown } | null)?.['actual-size'];
    return sum + (typeof bytes === 'number' ? bytes : 0);
  }, 0);
}
