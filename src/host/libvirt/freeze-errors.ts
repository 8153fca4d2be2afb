/**
 * What libvirt's refusals of a backup or a checkpoint mean (src/qemu/qemu_backup.c, qemu_checkpoint.c, under LC_ALL=C).
 * Names of marks and disks are ours, so that the sentences can be matched to their ends.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import { hasCode } from './errors.ts';

export type LostMark = {
  /** The disk that lost it, as libvirt names it. */
  readonly disk: string;
  /** For people: a sentence part after "because". */
  readonly because: string;
  /** libvirt was never told of it, or forgot: the bitmap itself may be there. */
  readonly isUnknown: boolean;
};

const BROKEN = /missing or broken bitmap '([^']*)' for disk '([^']*)'/;
const UNKNOWN = /Checkpoint '([^']*)' for incremental backup of disk '([^']*)' not found/i;
const MARK_MISSING = /no domain checkpoint with matching name|^domain checkpoint not found/i;
const BITMAP_MISSING = /bitmap '[^']*' not found in backing chain of '([^']*)'/;

/** The disk whose change mark cannot be used, if that is what the hypervisor refused a backup for. */
export function lostMarkIn(error: unknown): LostMark | null {
  const reason = refusalOf(error);
  const broken = BROKEN.exec(reason);
  if (broken !== null) {
    const because = `its change mark ${broken[1]} is missing or broken, as after a crash of the VM's process`;
    return { disk: broken[2] ?? '', because, isUnknown: false };
  }
  const unknown = UNKNOWN.exec(reason);
  if (unknown !== null) {
    const because = `the hypervisor no longer knows its change mark ${unknown[1]}`;
    return { disk: unknown[2] ?? '', because, isUnknown: true };
  }
  return null;
}

/** A mark is being set that is there already: left by an attempt that was cut off. */
export function saysMarkExists(error: unknown): boolean {
  return /domain moment .* already exists|bitmap already exists/i.test(refusalOf(error));
}

export function saysMarkMissing(error: unknown): boolean {
  return MARK_MISSING.test(refusalOf(error));
}

/** While a mark was removed: the disk on which it is not, although the hypervisor believed so. */
export function diskWithoutMark(error: unknown): string | null {
  return BITMAP_MISSING.exec(refusalOf(error))?.[1] ?? null;
}

/** The command needs a running VM, or just this one has ended. */
export function saysNotRunning(error: unknown): boolean {
  return /inactive domain|domain is not running/i.test(refusalOf(error));
}

export function saysNoAccess(error: unknown): boolean {
  return /permission denied|failed to bind socket|operation not permitted/i.test(refusalOf(error));
}

/** Neither ours nor one of the states that callers handle: the freeze failed, in the hypervisor's words. */
export function freezeFailure(vm: VmId, error: unknown): unknown {
  if (!hasCode(error, 'hypervisor-refused')) return error;
  const reason = refusalOf(error);
  if (/block job|active commit|mirror/i.test(reason)) {
    return new UnderstudyError('vm-busy', { vm, reason }, error);
  }
  return new UnderstudyError('freeze-failed', { vm, reason }, error);
}

export function refusalOf(error: unknown): string {
  return hasCode(error, 'hypervisor-refused') ? String(error.details.reason) : '';
}
