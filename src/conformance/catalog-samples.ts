/** One of everything a catalogue holds, with every field set, for tests. */
import type { Host } from '../domain/host/host.ts';
import {
  branchId,
  diskKey,
  hostId,
  jobId,
  layerId,
  markName,
  operationId,
  operationKey,
  pointId,
  replicaId,
  vmId,
} from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import { DEFAULT_SCRATCH, type Job } from '../domain/job/job.ts';
import type { Condition, ConditionName, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Temporary } from '../ports/catalog.ts';

const at = instant(Date.UTC(2026, 0, 1));
const sourceVmId = vmId('6f0e6e0c-0f5c-4b6e-9d57-2f3e8a9b1c2d');

export const otherReplicaId = replicaId('rp-2');

export const host: Host = {
  id: hostId('ho-1'),
  name: 'kvm-1',
  kind: 'libvirt',
  address: 'qemu:///system',
  storageFolder: '/srv/replicas',
  scratchFolder: '/srv/scratch',
  transferSlots: 3,
  testSlots: 3,
  storageReserveBytes: 20_000_000_000,
  startGuard: { hooksFolder: '/etc/libvirt/hooks' },
  addedAt: at,
};

export const job: Job = {
  id: jobId('jo-1'),
  name: `quotes ' " and\nlines; DROP TABLE job`,
  sourceHostId: host.id,
  targetHostId: hostId('ho-2'),
  vms: [{ vmId: sourceVmId, name: 'web 🌐', excludedBecause: null }],
  rpoSeconds: 900,
  isScheduled: true,
  windows: [{ days: ['sat', 'sun'], fromMinute: 0, toMinute: 24 * 60 }],
  isPaused: false,
  retention: { keepLast: 7, tiers: [{ everySeconds: 3600, forSeconds: 86_400 }] },
  quiesce: 'if-possible',
  replicaSuffix: '-replica',
  networkMap: { default: 'isolated', 'br0:1': null },
  bytesPerSecondMax: null,
  archiveSeconds: 86_400,
  scratch: DEFAULT_SCRATCH,
  testing: { everySeconds: 604_800, probes: [{ type: 'agent', deadlineSeconds: 180 }] },
  createdAt: at,
};

export const replica: Replica = {
  id: replicaId('rp-1'),
  jobId: null,
  sourceHostId: host.id,
  sourceVmId,
  sourceVmName: 'web',
  targetHostId: hostId('ho-2'),
  name: 'web-replica',
  targetVmId: null,
  phase: 'Failover',
  epoch: 3,
  newestPointId: pointId('pt-1'),
  seed: null,
  failover: {
    pointId: pointId('pt-1'),
    branchId: branchId('br-1'),
    overBranchId: branchId('br-0'),
    operationId: operationId('op-1'),
    reason: 'a test',
    fence: 'none',
    fencedNics: [],
    isDuplicateAccepted: false,
    isSourceReleased: false,
    startedAt: at,
    isConnected: false,
    connectionBecause: 'the source runs',
    runningAfterMs: 1200.5,
    answeringAfterMs: null,
    answeredBy: null,
  },
  failback: null,
  formerSource: {
    hostId: hostId('host-0'),
    vmId: vmId('00000000-0000-4000-8000-000000000009'),
    name: 'web',
    leftAt: at,
  },
  leftFencedNics: ['52:54:00:00:00:01'],
  archives: [
    {
      branchId: branchId('br-0'),
      pointId: pointId('pt-0'),
      overBranchId: null,
      archivedAt: at,
      keepUntil: at,
    },
  ],
  createdAt: at,
};

export const temporary: Temporary = {
  key: operationKey(operationId('op-1'), 'freeze'),
  hostId: host.id,
  kind: 'freeze',
  identity: { vmId: sourceVmId },
  expiresAt: at,
};

/** Points whose order by time is that of their numbers. */
export function point(number: number): RestorePoint {
  const key = diskKey('vda');
  return {
    id: pointId(`pt-${number}`),
    replicaId: replica.id,
    takenAt: instant(at + number * 1000),
    sealedAt: instant(at + number * 1000 + 500),
    consistency: 'crash',
    disks: [
      {
        key,
        sizeBytes: 2 ** 40,
        layerId: layerId(`la-${number}`),
        transfer: 'full',
        because: 'it is the first',
        sentBytes: 4096,
        rootHash: 'ab'.repeat(32),
        mark: markName(`mark-${number}`),
      },
    ],
    rootHash: 'cd'.repeat(32),
    vm: {
      id: sourceVmId,
      name: 'web',
      power: 'unknown',
      memoryBytes: 2 ** 30,
      cpuCount: 2,
      disks: [],
      nics: [],
      configuration: { format: 'libvirt-domain-xml', text: '<domain>\n  <x a="b"/>\n</domain>' },
      hasSavedState: false,
    },
    isPinned: false,
  };
}

export function condition(name: ConditionName, message: string): Condition {
  return { name, message, since: at };
}
