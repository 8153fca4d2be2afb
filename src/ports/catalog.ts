import type { Host } from '../domain/host/host.ts';
import type { HostId, JobId, OperationKey, PointId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Job } from '../domain/job/job.ts';
import type { Condition, ConditionName, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';

/** A record with the version that a later save must name. */
export type Versioned<T> = { readonly value: T; readonly version: number };

/**
 * A change to the catalogue as a plain value, so that it can be committed in one transaction with the
 * journal entry of the step that made it. `expectedVersion` null: the record must not exist yet.
 */
export type CatalogChange =
  | { readonly type: 'host-saved'; readonly host: Host; readonly expectedVersion: number | null }
  | { readonly type: 'host-removed'; readonly hostId: HostId }
  | { readonly type: 'job-saved'; readonly job: Job; readonly expectedVersion: number | null }
  | { readonly type: 'job-removed'; readonly jobId: JobId }
  | {
      readonly type: 'replica-saved';
      readonly replica: Replica;
      readonly expectedVersion: number | null;
    }
  | { readonly type: 'point-saved'; readonly point: RestorePoint }
  | { readonly type: 'point-removed'; readonly replicaId: ReplicaId; readonly pointId: PointId }
  | {
      readonly type: 'condition-raised';
      readonly replicaId: ReplicaId;
      readonly condition: Condition;
    }
  | {
      readonly type: 'condition-cleared';
      readonly replicaId: ReplicaId;
      readonly name: ConditionName;
    }
  | { readonly type: 'temporary-registered'; readonly temporary: Temporary }
  | { readonly type: 'temporary-released'; readonly key: OperationKey };

/** Something that must not outlive its operation: registered before it is made, released when it is gone. */
export type Temporary = {
  readonly key: OperationKey;
  readonly hostId: HostId;
  readonly kind:
    | 'freeze'
    | 'partial-point'
    | 'branch'
    | 'export'
    | 'test'
    | 'working-layers'
    | 'untold-switchover'
    | 'reading';
  /** What the sweeper needs to remove it, e.g. `{ vmId }` or `{ replicaId, pointId }`. */
  readonly identity: Readonly<Record<string, string>>;
  readonly expiresAt: Instant;
};

/**
 * What the controller knows. Reads see one moment; every write is a list of changes that is applied
 * entirely or not at all. Implementations hold no policy.
 */
export interface Catalog {
  hosts(): Promise<readonly Versioned<Host>[]>;
  host(id: HostId): Promise<Versioned<Host> | null>;
  jobs(): Promise<readonly Versioned<Job>[]>;
  job(id: JobId): Promise<Versioned<Job> | null>;
  replicas(): Promise<readonly Versioned<Replica>[]>;
  replica(id: ReplicaId): Promise<Versioned<Replica> | null>;
  /** In the order of `comparePoints`: oldest first. */
  points(replicaId: ReplicaId): Promise<readonly RestorePoint[]>;
  conditions(replicaId: ReplicaId): Promise<readonly Condition[]>;
  temporaries(): Promise<readonly Temporary[]>;
  /**
   * Applies all changes in one durable transaction.
   * Throws `version-conflict` when an expected version does not match, and `name-taken` when a job gets the name of
   * another one; then nothing is applied.
   */
  apply(changes: readonly CatalogChange[]): Promise<void>;
}
