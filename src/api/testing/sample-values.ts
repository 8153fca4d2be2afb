/** One of everything, for tests of the API and of the program. */
import type { Host, HostDescription } from '../../domain/host/host.ts';
import {
  branchId,
  diskKey,
  hostId,
  jobId,
  layerId,
  markName,
  operationId,
  pointId,
  replicaId,
  vmId,
} from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { DEFAULT_SCRATCH, type Job } from '../../domain/job/job.ts';
import type { SettingChange } from '../../domain/job/setting-changes.ts';
import type { OperationEvent, OperationRecord } from '../../domain/operation/operation.ts';
import type { Condition, Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { VmDescription, VmSummary } from '../../domain/vm/vm.ts';
import type { GuardView } from '../../ports/guard-control.ts';
import type { ArchiveView } from '../../ports/orders.ts';
import type { RebuiltFolder } from '../../ports/rebuild-report.ts';
import type { BranchWrites } from '../../ports/replica-store.ts';
import type { SilentHost } from '../../ports/silent-host.ts';

export const NOON = instant(Date.UTC(2026, 2, 1, 12, 0, 0));
const VM = vmId('0b5a6cfe-0000-4000-8000-000000000001');

export const HOSTILE_NAME = '--x;\u001b[31m$(rm)\n\u202e"\'';

export const HOST: Host = {
  id: hostId('host-a1'),
  name: 'production',
  kind: 'libvirt',
  address: 'qemu:///system',
  storageFolder: '/srv/understudy',
  scratchFolder: '/srv/understudy/scratch',
  transferSlots: 2,
  testSlots: 2,
  storageReserveBytes: null,
  startGuard: null,
  addedAt: NOON,
};

export const HOST_DESCRIPTION: HostDescription = {
  hypervisorVersion: '11.3.0',
  emulatorVersion: '10.0.2',
  acceleration: 'hardware',
  cpuCount: 8,
  memoryBytes: 2 ** 34,
  networks: ['default'],
  storageFreeBytes: 10 ** 12,
};

export const VM_SUMMARY: VmSummary = { id: VM, name: 'web-01', power: 'running' };

const VM_DESCRIPTION: VmDescription = {
  ...VM_SUMMARY,
  memoryBytes: 2 ** 30,
  cpuCount: 2,
  disks: [],
  nics: [{ mac: '52:54:00:00:00:01', network: 'network:default', isConnected: true }],
  configuration: { format: 'libvirt-domain-xml', text: '<domain/>' },
  hasSavedState: false,
};

export const JOB: Job = {
  id: jobId('job-a1'),
  name: 'web',
  sourceHostId: HOST.id,
  targetHostId: hostId('host-b1'),
  vms: [{ vmId: VM, name: 'web-01', excludedBecause: null }],
  rpoSeconds: 900,
  isScheduled: true,
  windows: [{ days: ['mon', 'tue'], fromMinute: 22 * 60, toMinute: 6 * 60 }],
  isPaused: false,
  retention: { keepLast: 7, tiers: [{ everySeconds: 3600, forSeconds: 86_400 }] },
  quiesce: 'if-possible',
  replicaSuffix: '-replica',
  networkMap: { lan: null },
  bytesPerSecondMax: null,
  archiveSeconds: 86_400,
  scratch: DEFAULT_SCRATCH,
  testing: null,
  createdAt: NOON,
};

export const POINT: RestorePoint = {
  id: pointId('pt-a1'),
  replicaId: replicaId('rep-a1'),
  takenAt: NOON,
  sealedAt: instant(NOON + 5000),
  consistency: 'application',
  disks: [
    {
      key: diskKey('vda'),
      sizeBytes: 2 ** 31,
      layerId: layerId('lay-a1'),
      transfer: 'full',
      because: 'there is no restore point yet',
      sentBytes: 2 ** 20,
      rootHash: 'ab'.repeat(32),
      mark: markName('mark-a1'),
    },
  ],
  rootHash: 'cd'.repeat(32),
  vm: VM_DESCRIPTION,
  isPinned: false,
};

export const REPLICA: Replica = {
  id: POINT.replicaId,
  jobId: JOB.id,
  sourceHostId: HOST.id,
  sourceVmId: VM,
  sourceVmName: 'web-01',
  targetHostId: JOB.targetHostId,
  name: 'web-01-replica',
  targetVmId: VM,
  phase: 'Failover',
  epoch: 3,
  newestPointId: POINT.id,
  seed: null,
  failover: {
    pointId: POINT.id,
    branchId: branchId('br-a1'),
    overBranchId: null,
    operationId: operationId('op-f1'),
    reason: 'host lost',
    fence: 'none',
    fencedNics: [],
    isDuplicateAccepted: false,
    isSourceReleased: false,
    startedAt: NOON,
    isConnected: true,
    connectionBecause: 'the source cannot be asked',
    runningAfterMs: 900,
    answeringAfterMs: null,
    answeredBy: null,
  },
  failback: null,
  formerSource: null,
  leftFencedNics: [],
  archives: [
    {
      branchId: branchId('br-a0'),
      pointId: POINT.id,
      overBranchId: null,
      archivedAt: NOON,
      keepUntil: instant(NOON + 1),
    },
  ],
  createdAt: NOON,
};

export const CONDITION: Condition = {
  name: 'unfenced-source',
  message: 'The source could not be asked whether it runs.',
  since: NOON,
};

export const OPERATION: OperationRecord = {
  id: operationId('op-a1'),
  kind: 'replicate',
  subject: REPLICA.id,
  title: 'Replicate web-01 to recovery',
  state: 'running',
  input: { internal: true },
  result: null,
  error: null,
  isCancelRequested: false,
  createdAt: NOON,
  startedAt: NOON,
  endedAt: null,
};

export function operationEvent(
  sequence: number,
  type: OperationEvent['type'],
  step: string | null = null,
): OperationEvent {
  const at = instant(NOON + sequence);
  return { operationId: OPERATION.id, sequence, at, type, step, message: '', durationMs: null };
}

const [ARCHIVE] = REPLICA.archives;
if (ARCHIVE === undefined) throw new Error('the sample has an archive');

export const ARCHIVE_VIEW: ArchiveView = {
  archive: ARCHIVE,
  pointTakenAt: NOON,
  isPointThere: true,
  bytes: 2 ** 20,
  unknownBecause: null,
  neededBy: null,
};

export const BRANCH_WRITES: BranchWrites = {
  key: diskKey('vda'),
  sizeBytes: 2 ** 31,
  writtenBytes: 131_072,
  zeroedBytes: 65_536,
  rangeCount: 2,
  ranges: [
    { offset: 0, length: 131_072, isZero: false },
    { offset: 1_048_576, length: 65_536, isZero: true },
  ],
};

export const REBUILT: RebuiltFolder = {
  replicaId: REPLICA.id,
  name: REPLICA.name,
  targetHostName: 'recovery',
  outcome: 'rebuilt',
  phase: 'Failover',
  pointCount: 1,
  jobName: JOB.name,
  notes: ['Its job web is paused.'],
};

export const GUARD_VIEW: GuardView = {
  host: { ...HOST, startGuard: { hooksFolder: '/etc/libvirt/hooks' } },
  state: 'active',
  because: 'The host refused to start a VM that the guard held.',
  held: [
    {
      vmId: REPLICA.sourceVmId,
      replicaId: REPLICA.id,
      epoch: REPLICA.epoch,
      since: NOON,
      reason: HOSTILE_NAME,
      vmName: HOSTILE_NAME,
      replicaName: null,
    },
  ],
};

export const SILENT_HOST: SilentHost = {
  host: HOST,
  since: REPLICA.createdAt,
  because: 'Host production does not answer: no route to host.',
  replicas: [{ replica: REPLICA, role: 'source', meaning: 'no restore points until it answers' }],
};

export const SETTING_CHANGE: SettingChange = {
  setting: 'RPO',
  from: '15m',
  to: '5m',
  takesEffect: 'at once: the next runs are planned with it',
};
