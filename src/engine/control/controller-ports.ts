import type { HostId } from '../../domain/ids.ts';
import type { Durable } from '../../ports/durable.ts';
import type { Ids } from '../../ports/ids.ts';
import type { EnginePorts } from '../engine-ports.ts';
import type { Misses } from '../watch-hosts.ts';

/** What accepting and steering operations needs besides performing them. */
export type ControllerPorts = EnginePorts & {
  readonly durable: Durable;
  readonly ids: Ids;
  /** Hosts that did not answer when they were last asked; kept by watch-hosts.ts. */
  readonly misses: Map<HostId, Misses>;
};
