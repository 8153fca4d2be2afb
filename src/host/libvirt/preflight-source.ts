/** What protecting a VM would disturb or miss at its own host. */
import type { VmId } from '../../domain/ids.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { VmDescription, VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { hasCode } from './errors.ts';
import { blocks, warns } from './finding.ts';
import { describeVm, lines, unlessRefused } from './inspect.ts';
import type { Virsh } from './virsh.ts';

export type SourceTools = { readonly virsh: Virsh; readonly processes: Processes };

export async function preflightSourceVm(
  { virsh, processes }: SourceTools,
  id: VmId,
  options: CallOptions,
): Promise<PreflightFinding[]> {
  const [vm, snapshots, info] = await Promise.all([
    describeVm(virsh, id, options),
    unlessRefused(virsh.run(['snapshot-list', '--internal', '--name', '--', id], options)),
    virsh.run(['dominfo', '--', id], options),
  ]);
  const images = await Promise.all(
    vm.disks
      .filter((disk) => disk.unsupportedBecause === null && disk.format === 'qcow2')
      .map(async (disk) => ({ disk, image: await readImage(processes, disk, options) })),
  );
  return [
    ...vmFindings(vm, { isPersistent: !/^Persistent:\s+no/m.test(info) }),
    ...vm.disks.flatMap(diskFindings),
    ...snapshotFindings(lines(snapshots ?? '').map((line) => line.trim())),
    ...images.flatMap(({ disk, image }) => (image === null ? [] : imageFindings(disk, image))),
  ];
}

function vmFindings(
  vm: VmDescription,
  { isPersistent }: { isPersistent: boolean },
): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  if (!vm.disks.some((disk) => disk.unsupportedBecause === null)) {
    findings.push(blocks('disks', 'It has no disk that can be protected.'));
  }
  if (vm.hasSavedState) {
    const how = `Start it, or give the image up with: virsh managedsave-remove ${vm.id}`;
    const message = `It has a saved memory image, which is not replicated: a replica boots afresh. ${how}`;
    findings.push(warns('saved state', message));
  }
  if (!isPersistent) {
    const message =
      'It exists only while it runs: once it is off, the host forgets it. Define it with virsh define.';
    findings.push(blocks('definition', message));
  }
  return findings;
}

function diskFindings(disk: VmDisk): PreflightFinding[] {
  const element = `disk ${disk.key}`;
  if (disk.unsupportedBecause !== null) {
    const advice = 'Exclude it from the job, or move it to a qcow2 or raw file.';
    return [blocks(element, `It cannot be protected: ${disk.unsupportedBecause}. ${advice}`)];
  }
  if (disk.tracksChanges) return [];
  const message =
    'It cannot remember which blocks changed, so that every run reads all that is allocated. ' +
    `A qcow2 file can: qemu-img convert -f ${disk.format} -O qcow2.`;
  return [warns(element, message)];
}

/** Proved on libvirt 9.0: the revert fails with "Device has active dirty bitmaps", and the VM is off afterwards. */
function snapshotFindings(names: readonly string[]): PreflightFinding[] {
  if (names.length === 0) return [];
  const message =
    `It has ${names.length} internal snapshot(s). While it is protected, reverting to one fails and leaves the VM off; ` +
    'remove the job first, or use external snapshots.';
  return [warns('internal snapshots', message)];
}

type Image = {
  readonly isOldFormat: boolean;
  readonly isEncrypted: boolean;
  readonly hasDataFile: boolean;
  readonly snapshotCount: number;
};

/** Null when qemu-img is missing, may not read it, or waits for its storage: the freeze will say so in its own, better words. */
async function readImage(
  processes: Processes,
  disk: VmDisk,
  options: CallOptions,
): Promise<Image | null> {
  const args = ['info', '--force-share', '--output=json', '-f', 'qcow2', '--', disk.path];
  try {
    const result = await processes.run({ command: 'qemu-img', arguments: args }, options);
    return result.exitCode === 0 ? parseImage(result.stdout) : null;
  } catch (error) {
    if (hasCode(error, 'command-missing', 'timed-out')) return null;
    throw error;
  }
}

/** QAPI ImageInfo and ImageInfoSpecificQCow2 (qemu: qapi/block-core.json). */
function parseImage(text: string): Image {
  const root = record(JSON.parse(text));
  const specific = record(record(root['format-specific']).data);
  return {
    isOldFormat: specific.compat === '0.10',
    isEncrypted: root.encrypted === true,
    hasDataFile: typeof specific['data-file'] === 'string',
    snapshotCount: Array.isArray(root.snapshots) ? root.snapshots.length : 0,
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function imageFindings(disk: VmDisk, image: Image): PreflightFinding[] {
  const element = `disk ${disk.key}`;
  const findings: PreflightFinding[] = [];
  if (image.isOldFormat && disk.tracksChanges) {
    const message = `Its file is of the old qcow2 version 2, which cannot hold change marks. With the VM off: qemu-img amend -f qcow2 -o compat=1.1 ${disk.path}`;
    findings.push(blocks(element, message));
  }
  if (image.isEncrypted) findings.push(blocks(element, 'Its file is encrypted; we have no key.'));
  if (image.hasDataFile) {
    findings.push(
      warns(element, 'Its contents are in a separate data file; the replica has one file.'),
    );
  }
  if (image.snapshotCount > 0) {
    const message = `Its file holds ${image.snapshotCount} internal snapshot(s). They are not replicated, and reverting to one while the VM is protected fails.`;
    findings.push(warns(element, message));
  }
  return findings;
}
