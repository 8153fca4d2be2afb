/**
 * Whether a replica may be connected to the network when it starts. Two machines with one identity must
 * not meet by accident; an outage must not be prolonged by caution about a source that is gone.
 */
import type { SourceFence } from '../replica/replica.ts';
import type { PowerState } from '../vm/vm.ts';

export type SourceAtFailover = {
  /** `unknown`: the source host did not answer. `absent`: it answers that there is no such VM. */
  readonly power: PowerState | 'absent';
  /** Whether any NIC of the source is connected, as far as known. */
  readonly isConnected: boolean;
};

export type ConnectionDecision = {
  readonly connect: boolean;
  /** A sentence for the record. */
  readonly because: string;
  /** The condition `unfenced-source` is to be raised. */
  readonly isUnfenced: boolean;
};

export function decideConnection(
  source: SourceAtFailover,
  fence: SourceFence,
  acceptsDuplicate: boolean,
): ConnectionDecision {
  if (fence !== 'none') {
    return { connect: true, because: FENCED[fence], isUnfenced: false };
  }
  switch (source.power) {
    case 'off':
      return { connect: true, because: 'the source VM is off', isUnfenced: false };
    case 'absent':
      return { connect: true, because: 'the source host no longer has the VM', isUnfenced: false };
    case 'unknown':
      return {
        connect: true,
        because: 'the source host does not answer, so the source may still be running',
        isUnfenced: true,
      };
    default:
      return decideBesideRunningSource(source, acceptsDuplicate);
  }
}

function decideBesideRunningSource(
  source: SourceAtFailover,
  acceptsDuplicate: boolean,
): ConnectionDecision {
  if (!source.isConnected) {
    return { connect: true, because: 'the source VM is disconnected', isUnfenced: false };
  }
  if (acceptsDuplicate) {
    return {
      connect: true,
      because: 'the source VM is running and connected, and the duplicate was expressly accepted',
      isUnfenced: true,
    };
  }
  return {
    connect: false,
    because: 'the source VM is running and connected',
    isUnfenced: false,
  };
}

const FENCED = {
  nics: 'the NICs of the source VM were disconnected',
  shutdown: 'the source VM was shut down',
  'power-off': 'the source VM was powered off',
} as const satisfies Record<Exclude<SourceFence, 'none'>, string>;
