/**
 * Documents out of the catalogue. They were written by this program, perhaps an older version of it, onto
 * storage that may have lied: the top level is checked, so that damage is named instead of spreading.
 */
import { UnderstudyError } from '../domain/error.ts';
import { DEFAULT_TEST_SLOTS, type Host } from '../domain/host/host.ts';
import type { Job } from '../domain/job/job.ts';
import type { Condition, FailoverRecord, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Temporary } from '../ports/catalog.ts';

type FieldType =
  | 'string'
  | 'number'
  | 'boolean'
  | 'array'
  | 'object'
  | 'string?'
  | 'number?'
  | 'object?'
  | 'array?';

/** Every field of `T` with the type it has at its top level; a missing or surplus name does not compile. */
type Shape<T> = { readonly [Field in keyof Required<T>]: FieldType };

export type DocumentReader<T> = (record: string, text: unknown) => T;

export const readHost = reader<Host>(
  {
    id: 'string',
    name: 'string',
    kind: 'string',
    address: 'string',
    storageFolder: 'string',
    scratchFolder: 'string',
    transferSlots: 'number',
    testSlots: 'number',
    storageReserveBytes: 'number?',
    startGuard: 'object?',
    addedAt: 'number',
  },
  { testSlots: DEFAULT_TEST_SLOTS, storageReserveBytes: null, startGuard: null },
);

export const readJob = reader<Job>(
  {
    id: 'string',
    name: 'string',
    sourceHostId: 'string',
    targetHostId: 'string',
    vms: 'array',
    rpoSeconds: 'number',
    isScheduled: 'boolean',
    windows: 'array',
    isPaused: 'boolean',
    retention: 'object',
    quiesce: 'string',
    replicaSuffix: 'string',
    networkMap: 'object',
    bytesPerSecondMax: 'number?',
    archiveSeconds: 'number',
    scratch: 'object',
    testing: 'object?',
    createdAt: 'number',
  },
  { testing: null, windows: [] },
);

const readCurrentReplica = reader<Replica>(
  {
    id: 'string',
    jobId: 'string?',
    sourceHostId: 'string',
    sourceVmId: 'string',
    sourceVmName: 'string',
    targetHostId: 'string',
    name: 'string',
    targetVmId: 'string?',
    phase: 'string',
    epoch: 'number',
    newestPointId: 'string?',
    seed: 'object?',
    failover: 'object?',
    failback: 'object?',
    formerSource: 'object?',
    leftFencedNics: 'array?',
    archives: 'array',
    createdAt: 'number',
  },
  { failback: null, seed: null, formerSource: null, leftFencedNics: [] },
);

/** Older versions did not know branches over branches, nor remember which NICs they disconnected. */
export const readReplica: DocumentReader<Replica> = (record, text) => {
  const replica = readCurrentReplica(record, text);
  const { failover, archives } = replica;
  return {
    ...replica,
    failover: failover === null ? null : wholeFailover(failover),
    archives: archives.map((archive) => ({
      ...archive,
      overBranchId: archive.overBranchId ?? null,
    })),
  };
};

function wholeFailover(written: Partial<FailoverRecord> & FailoverRecord): FailoverRecord {
  const { overBranchId = null, isDuplicateAccepted = false, isSourceReleased = false } = written;
  const { fencedNics = written.fence === 'nics' ? null : [], answeredBy = null } = written;
  const known = { overBranchId, fencedNics, isDuplicateAccepted, isSourceReleased, answeredBy };
  return { ...written, ...known };
}

export const readPoint = reader<RestorePoint>({
  id: 'string',
  replicaId: 'string',
  takenAt: 'number',
  sealedAt: 'number',
  consistency: 'string',
  disks: 'array',
  rootHash: 'string',
  vm: 'object',
  isPinned: 'boolean',
});

export const readCondition = reader<Condition>({
  name: 'string',
  message: 'string',
  since: 'number',
});

export const readTemporary = reader<Temporary>({
  key: 'string',
  hostId: 'string',
  kind: 'string',
  identity: 'object',
  expiresAt: 'number',
});

/** `defaults`: fields that older versions did not write. */
function reader<T>(shape: Shape<T>, defaults: Partial<T> = {}): DocumentReader<T> {
  const fields = Object.entries<FieldType>(shape);
  return (record, text) => {
    const document: Record<string, unknown> = { ...defaults, ...parse(record, text) };
    for (const [field, type] of fields) {
      if (!hasType((document as Record<string, unknown>)[field], type)) {
        throw corrupt(record, `its ${field} is not a ${type}`);
      }
    }
    return document as unknown as T;
  };
}

function parse(record: string, text: unknown): Record<string, unknown> {
  let document: unknown;
  try {
    document = JSON.parse(String(text));
  } catch {
    throw corrupt(record, 'it is not JSON');
  }
  if (!hasType(document, 'object')) throw corrupt(record, 'it is not an object');
  return document as Record<string, unknown>;
}

function hasType(value: unknown, type: FieldType): boolean {
  if (type.endsWith('?')) return value === null || hasType(value, type.slice(0, -1) as FieldType);
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }
  return typeof value === type;
}

function corrupt(record: string, reason: string): UnderstudyError {
  return new UnderstudyError('corrupt-record', { record, reason });
}
