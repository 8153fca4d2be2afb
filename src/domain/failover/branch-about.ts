/**
 * What is kept with a replica's branch while the replica stands in: how its source was cut off, and the failback that is under
 * way. A controller that lost everything finds both there (`rescan --rebuild`). It is written before what it tells of is
 * done, so it may tell of something that did not come to be, and never keeps silent about what did.
 */
import {
  diskKey,
  type FailbackId,
  failbackId,
  markName,
  type PointId,
  pointId,
  vmId,
} from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import { countOf, instantOf, listOf, objectOf, parsed, textOf, wordOf } from '../lenient-json.ts';
import type { Json } from '../operation/operation.ts';
import type { FailoverRecord } from '../replica/replica.ts';
import type { ConfigurationChange } from '../vm/configuration-change.ts';
import type { FailbackHome, FailbackRecord, LayerPlan } from './failback.ts';
import type { Fencing } from './fencing.ts';

export type BranchAbout = {
  readonly failover: Fencing &
    Pick<FailoverRecord, 'reason' | 'isDuplicateAccepted' | 'isSourceReleased'> & {
      readonly startedAt: Instant | null;
    };
  /** Null: none is under way, for certain. */
  readonly failback: FailbackAbout | null;
};

export type FailbackAbout = {
  readonly id: FailbackId;
  /** Where it goes, by what does not change with the catalogue. */
  readonly homeHostName: string;
  readonly homeHostAddress: string;
  readonly home: Omit<FailbackHome, 'hostId'>;
  readonly layers: readonly LayerPlan[];
  readonly startedAt: Instant;
  readonly appliesChanges: boolean;
  readonly hasStoppedHome: boolean;
  /** Present once production was about to be put on the layers; whether it was, the layers tell. */
  readonly switched: SwitchAbout | null;
};

export type SwitchAbout = {
  readonly pointId: PointId;
  readonly takenAt: Instant;
  readonly changes: readonly ConfigurationChange[];
};

/** Of a failback; `null` for its host: one that is known no more. */
export type FailbackTold = {
  readonly record: Pick<
    FailbackRecord,
    'id' | 'home' | 'layers' | 'startedAt' | 'appliesChanges' | 'hasStoppedHome'
  >;
  readonly homeHost: { readonly name: string; readonly address: string } | null;
  readonly switched: SwitchAbout | null;
};

export function aboutBranch(failover: FailoverRecord, failback: FailbackTold | null): Json {
  const { fence, fencedNics, reason, isDuplicateAccepted, isSourceReleased, startedAt } = failover;
  const served = { fence, fencedNics, reason, isDuplicateAccepted, isSourceReleased, startedAt };
  return { failover: served, failback: failback === null ? null : aboutFailback(failback) };
}

function aboutFailback({ record, homeHost, switched }: FailbackTold): Json {
  const { id, layers, startedAt, appliesChanges, hasStoppedHome } = record;
  const { vmId: homeVmId, name, kind } = record.home;
  return {
    id,
    homeHostName: homeHost?.name ?? '',
    homeHostAddress: homeHost?.address ?? '',
    home: { vmId: homeVmId, name, kind },
    layers: layers.map(({ key, sizeBytes, base, since }) => ({ key, sizeBytes, base, since })),
    startedAt,
    appliesChanges,
    hasStoppedHome,
    // Values of the domain are plain: no JSON is lost on the way.
    switched: switched === null ? null : ({ ...switched } as unknown as Json),
  };
}

const FENCES = ['none', 'nics', 'shutdown', 'power-off'] as const;
const KINDS = ['original', 'copy', 'new'] as const;

/** Null when nothing was kept, as by older versions: then nobody knows. */
export function readBranchAbout(value: Json): BranchAbout | null {
  const fields = objectOf(value);
  const failover = objectOf(fields.failover);
  if (Object.keys(failover).length === 0) return null;
  const { fencedNics } = failover;
  const failback = fields.failback ?? null;
  return {
    failover: {
      fence: wordOf(FENCES, failover.fence, 'none'),
      fencedNics:
        fencedNics === null ? null : listOf(fencedNics).flatMap((mac) => textOf(mac) ?? []),
      reason: textOf(failover.reason) ?? '',
      isDuplicateAccepted: failover.isDuplicateAccepted === true,
      isSourceReleased: failover.isSourceReleased === true,
      startedAt: instantOf(failover.startedAt),
    },
    failback: failback === null ? null : readFailback(failback),
  };
}

/** One that cannot be read is told with an id that nobody has: that there is one must not be forgotten. */
function readFailback(value: Json): FailbackAbout {
  const fields = objectOf(value);
  const home = objectOf(fields.home);
  return {
    id: parsed(failbackId, fields.id) ?? failbackId('fb-unknown'),
    homeHostName: textOf(fields.homeHostName) ?? '',
    homeHostAddress: textOf(fields.homeHostAddress) ?? '',
    home: {
      vmId: parsed(vmId, home.vmId),
      name: textOf(home.name) ?? '',
      kind: wordOf(KINDS, home.kind, 'original'),
    },
    layers: listOf(fields.layers).flatMap(readLayer),
    startedAt: instantOf(fields.startedAt) ?? instant(0),
    appliesChanges: fields.appliesChanges === true,
    hasStoppedHome: fields.hasStoppedHome === true,
    switched: readSwitched(fields.switched ?? null),
  };
}

function readLayer(value: Json): readonly LayerPlan[] {
  const fields = objectOf(value);
  const key = parsed(diskKey, fields.key);
  const sizeBytes = countOf(fields.sizeBytes);
  if (key === null || sizeBytes === null) return [];
  const base = wordOf(['none'], fields.base, 'disk');
  return [{ key, sizeBytes, base, since: parsed(markName, fields.since) }];
}

function readSwitched(value: Json): SwitchAbout | null {
  const fields = objectOf(value);
  const id = parsed(pointId, fields.pointId);
  const takenAt = instantOf(fields.takenAt);
  if (id === null || takenAt === null) return null;
  const changes = listOf(fields.changes).filter((change) => textOf(objectOf(change).type) !== null);
  return { pointId: id, takenAt, changes: changes as unknown as readonly ConfigurationChange[] };
}
