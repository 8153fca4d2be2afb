/**
 * What is written into a replica's folder about its source and its job, so that a controller that lost everything can
 * find it there again (`rescan --rebuild`). It is read by later versions than wrote it, and by nobody in between: what is missing
 * or odd counts as not known, never as an error.
 */
import {
  type AddressProbe,
  formatAddressProbe,
  parseAddressProbe,
} from '../failover/address-probe.ts';
import { type PointId, pointId, type VmId, vmId } from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import { DEFAULT_ARCHIVE_SECONDS, DEFAULT_SCRATCH, type Job, protectedVm } from '../job/job.ts';
import { countOf, listOf, objectOf, parsed, textOf } from '../lenient-json.ts';
import type { Json } from '../operation/operation.ts';
import { formatWindow, parseWindow } from '../replication/window.ts';
import type { RestorePoint } from '../restore-point/restore-point.ts';
import { DEFAULT_RETENTION } from '../restore-point/retention.ts';
import type { Replica } from './replica.ts';

/** A job without what is of one controller only. */
export type JobPolicy = Omit<
  Job,
  'id' | 'sourceHostId' | 'targetHostId' | 'vms' | 'isPaused' | 'createdAt'
>;

export type ReplicaAbout = {
  readonly sourceHostName: string;
  readonly sourceHostAddress: string;
  readonly sourceVmId: VmId;
  readonly sourceVmName: string;
  readonly targetVmId: VmId | null;
  readonly createdAt: Instant;
  /** Of the source, and disconnected when no branch told so any more: some may be connected again. Null: all it has. */
  readonly leftFencedNics: readonly string[] | null;
  /** Pins are the catalogue's: without this, retention would take what somebody wanted to keep. */
  readonly pinnedPointIds: readonly PointId[];
  /** Where its guest answers by its address. */
  readonly answersAt: readonly AddressProbe[];
  /** Null: the replica had no job. */
  readonly job: JobPolicy | null;
};

export function aboutReplica(
  replica: Replica,
  known: {
    readonly sourceHost: { readonly name: string; readonly address: string } | null;
    readonly job: Job | null;
    readonly points: readonly RestorePoint[];
  },
): Json {
  const { sourceVmId, sourceVmName, targetVmId, createdAt, leftFencedNics } = replica;
  return {
    sourceHostName: known.sourceHost?.name ?? '',
    sourceHostAddress: known.sourceHost?.address ?? '',
    sourceVmId,
    sourceVmName,
    targetVmId,
    createdAt,
    leftFencedNics,
    pinnedPointIds: known.points.filter(({ isPinned }) => isPinned).map(({ id }) => id),
    answersAt: answersOf(known.job, sourceVmId),
    job: known.job === null ? null : policyOf(known.job),
  };
}

function answersOf(job: Job | null, id: VmId): readonly string[] {
  const vm = job === null ? null : protectedVm(job, id);
  return (vm?.answersAt ?? []).map(formatAddressProbe);
}

/** As JSON: a job is a stored record, made of nothing else. */
function policyOf(job: Job): Json {
  const { id: _id, sourceHostId: _s, targetHostId: _t, vms: _v, isPaused: _p, ...policy } = job;
  const { createdAt: _c, windows, ...kept } = policy;
  return { ...(kept as unknown as Record<string, Json>), windows: windows.map(formatWindow) };
}

/** Null when it does not even say which VM the replica is of. */
export function readAbout(value: Json): ReplicaAbout | null {
  const fields = objectOf(value);
  const id = parsed(vmId, fields.sourceVmId);
  if (id === null) return null;
  return {
    sourceHostName: textOf(fields.sourceHostName) ?? '',
    sourceHostAddress: textOf(fields.sourceHostAddress) ?? '',
    sourceVmId: id,
    sourceVmName: textOf(fields.sourceVmName) ?? id,
    targetVmId: parsed(vmId, fields.targetVmId),
    createdAt: instant(countOf(fields.createdAt) ?? 0),
    leftFencedNics: nicsOf(fields.leftFencedNics),
    pinnedPointIds: listOf(fields.pinnedPointIds).flatMap((one) => parsed(pointId, one) ?? []),
    answersAt: listOf(fields.answersAt).flatMap((one) => parsed(parseAddressProbe, one) ?? []),
    job: readPolicy(fields.job ?? null),
  };
}

/** Older versions did not tell. */
function nicsOf(value: Json | undefined): ReplicaAbout['leftFencedNics'] {
  return value === null ? null : listOf(value).flatMap((mac) => textOf(mac) ?? []);
}

const QUIESCE: readonly string[] = ['never', 'if-possible', 'required'] satisfies Job['quiesce'][];

/** A job without a name is none; everything else that cannot be read is as in a new job. */
function readPolicy(value: Json): JobPolicy | null {
  const fields = objectOf(value);
  const name = textOf(fields.name);
  if (name === null || name === '') return null;
  const retention = objectOf(fields.retention ?? null);
  const scratch = objectOf(fields.scratch ?? null);
  const quiesce = textOf(fields.quiesce) ?? '';
  return {
    ...(fields as unknown as JobPolicy),
    name,
    rpoSeconds: countOf(fields.rpoSeconds) ?? 24 * 3600,
    isScheduled: fields.isScheduled === true,
    windows: listOf(fields.windows).flatMap((one) => parsed(parseWindow, one) ?? []),
    retention: {
      keepLast: countOf(retention.keepLast) ?? DEFAULT_RETENTION.keepLast,
      tiers: listOf(retention.tiers).flatMap((tier) => {
        const everySeconds = countOf(objectOf(tier).everySeconds);
        const forSeconds = countOf(objectOf(tier).forSeconds);
        return everySeconds === null || forSeconds === null ? [] : [{ everySeconds, forSeconds }];
      }),
    },
    quiesce: QUIESCE.includes(quiesce) ? (quiesce as Job['quiesce']) : 'if-possible',
    replicaSuffix: textOf(fields.replicaSuffix) ?? '-replica',
    networkMap: networksOf(fields.networkMap ?? null),
    bytesPerSecondMax: countOf(fields.bytesPerSecondMax),
    archiveSeconds: countOf(fields.archiveSeconds) ?? DEFAULT_ARCHIVE_SECONDS,
    scratch: {
      quotaBytes: countOf(scratch.quotaBytes),
      reserveBytes: countOf(scratch.reserveBytes) ?? DEFAULT_SCRATCH.reserveBytes,
      deadlineMs: countOf(scratch.deadlineMs) ?? DEFAULT_SCRATCH.deadlineMs,
    },
  };
}

function networksOf(value: Json): Job['networkMap'] {
  const entries = Object.entries(objectOf(value));
  return Object.fromEntries(
    entries.flatMap(([from, to]) =>
      to === null || typeof to === 'string' ? [[from, to] as const] : [],
    ),
  );
}
