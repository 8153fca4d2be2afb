import type { ReplicaId } from '../domain/ids.ts';
import type { CallOptions } from './call.ts';

/** For which replica a command is given, and how often somebody new has taken charge of it. */
export type Authority = { readonly replicaId: ReplicaId; readonly epoch: number };

/** What a host remembers of who is in charge of replicas, so that it obeys nobody who has been superseded. */
export interface HostEpochs {
  /**
   * Throws `epoch-refused` when the host has heard of a higher epoch of the replica, and remembers a higher one before it
   * resolves. Only evidence refuses: a host that cannot read or keep its notes lets the command pass, because what it stops
   * might be the fence or the failover of a bad night.
   */
  admit(authority: Authority, options: CallOptions): Promise<void>;
}
