import type { ReplicaId } from '../domain/ids.ts';
import type { Phase } from '../domain/replica/phase.ts';
import type { Reference } from './controller.ts';

export type RebuildOrder = {
  /** Only folders on these hosts; null: on every host. */
  readonly hosts: readonly Reference[] | null;
  /** Of replicas that do not say which source host they have, or name one that is not known. */
  readonly sourceHost: Reference | null;
  /** Make a damaged replica.json anew from the images; then every layer has to be read again before it is built on. */
  readonly repairs: boolean;
  /** Say what would be rebuilt; change nothing. */
  readonly isDryRun: boolean;
};

export type RebuiltFolder = {
  readonly replicaId: ReplicaId;
  readonly name: string;
  readonly targetHostName: string;
  /** `known`: in the catalogue already, and left as it is. */
  readonly outcome: 'rebuilt' | 'known' | 'skipped';
  readonly phase: Phase | null;
  readonly pointCount: number;
  readonly jobName: string | null;
  /** Why it was skipped; what was assumed; what a person may want to look at. */
  readonly notes: readonly string[];
};

export type RebuildReport = {
  readonly folders: readonly RebuiltFolder[];
  /** Hosts that did not answer: what is there is not rebuilt. */
  readonly unreachable: readonly { readonly hostName: string; readonly because: string }[];
  readonly isDryRun: boolean;
};
