import type { AddressProbe } from '../failover/address-probe.ts';
import type { HostId, JobId, VmId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { ReplicationWindow } from '../replication/window.ts';
import type { RetentionPolicy } from '../restore-point/retention.ts';
import type { Probe } from '../test-failover/probe.ts';

export type QuiescePolicy = 'never' | 'if-possible' | 'required';

/** A VM in a job. An excluded one stays listed, with the reason, and is never run. */
export type ProtectedVm = {
  readonly vmId: VmId;
  /** As it was when the job was made or last ran; for people. */
  readonly name: string;
  readonly excludedBecause: string | null;
  /** Where its guest answers by its address, beside its agent; absent: nowhere. */
  readonly answersAt?: readonly AddressProbe[];
};

/** What to replicate, from where to where, how often, and what to keep. */
export type Job = {
  readonly id: JobId;
  readonly name: string;
  readonly sourceHostId: HostId;
  readonly targetHostId: HostId;
  readonly vms: readonly ProtectedVm[];
  /** The newest complete point is never to be older than this. */
  readonly rpoSeconds: number;
  /** False: runs happen only by hand. */
  readonly isScheduled: boolean;
  /** When runs may begin by the clock; none: at any time. */
  readonly windows: readonly ReplicationWindow[];
  readonly isPaused: boolean;
  readonly retention: RetentionPolicy;
  readonly quiesce: QuiescePolicy;
  readonly replicaSuffix: string;
  /** Source network name → target network name, or null to leave the NIC disconnected. Unlisted: same name. */
  readonly networkMap: Readonly<Record<string, string | null>>;
  readonly bytesPerSecondMax: number | null;
  /** How long the branch of an undone failover is kept. */
  readonly archiveSeconds: number;
  readonly scratch: ScratchPolicy;
  /** How its newest points are proved by themselves; null: only by hand. */
  readonly testing: TestingPolicy | null;
  readonly createdAt: Instant;
};

/** Scheduled test failovers. */
export type TestingPolicy = {
  readonly everySeconds: number;
  readonly probes: readonly Probe[];
};

/** Old blocks of a frozen VM are kept beside it while it writes on: how much of that is acceptable. */
export type ScratchPolicy = {
  /** At most this much of old blocks; null: half of what is free when the freeze begins. */
  readonly quotaBytes: number | null;
  /** The file system keeps at least this much free. */
  readonly reserveBytes: number;
  /** The freeze ends at this age at the latest. */
  readonly deadlineMs: number;
};

export const DEFAULT_SCRATCH: ScratchPolicy = {
  quotaBytes: null,
  reserveBytes: 256 * 1024 * 1024,
  deadlineMs: 4 * 3600 * 1000,
};

export const DEFAULT_ARCHIVE_SECONDS = 24 * 3600;

export function protectedVm(job: Job, vmId: VmId): ProtectedVm | null {
  return job.vms.find((vm) => vm.vmId === vmId) ?? null;
}

/** The job with this VM excluded; the first reason stands. */
export function excludeVm(job: Job, vmId: VmId, because: string): Job {
  const vms = job.vms.map((vm) =>
    vm.vmId === vmId && vm.excludedBecause === null ? { ...vm, excludedBecause: because } : vm,
  );
  return { ...job, vms };
}
