import type { Host } from '../domain/host/host.ts';
import type { SilenceFor } from '../domain/host/silence.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';

/** One that was asked again and again and did not answer. */
export type SilentHost = {
  readonly host: Host;
  /** When it first did not answer; where the server was started later, when that first asked. */
  readonly since: Instant;
  /** What came instead of an answer, for people. */
  readonly because: string;
  /** What this means, for each replica that has to do with the host. */
  readonly replicas: readonly (SilenceFor & { readonly replica: Replica })[];
};
