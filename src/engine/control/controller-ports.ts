import type { Durable } from '../../ports/durable.ts';
import type { Ids } from '../../ports/ids.ts';
import type { EnginePorts } from '../engine-ports.ts';

/** What accepting and steering operations needs besides performing them. */
export type ControllerPorts = EnginePorts & {
  readonly durable: Durable;
  readonly ids: Ids;
};
