/**
 * Whether a replica may be connected to the network when it starts. Two machines with one identity must
 * not meet by accident; an outage must not be prolonged by caution about a source that is gone.
 */
import type { SourceFence } from '../replica/replica.ts';
import { isServing, type PowerState } from '../vm/vm.ts';

export type SourceAtFailover = {
  /** `unknown`: the source host did not answer. `absent`: it answers that there is no such VM. */
  readonly power: PowerState | 'absent';
  /** Whether any NIC of the source is connected (or would be, while it is off), as far as known. */
  readonly isConnected: boolean;
};

/** What stands in the source's place because of another replica of it. */
export type SiblingAtFailover = SourceAtFailover & {
  readonly name: string;
  readonly replicaName: string;
  /** What it is, a sentence part; absent: of another replica of the VM. */
  readonly origin?: string;
};

/** As a sentence part, after which comes a comma. */
export function named({
  name,
  origin = 'of another replica of the VM',
}: Pick<SiblingAtFailover, 'name' | 'origin'>): string {
  return `${name}, ${origin}`;
}

export type ConnectionDecision = {
  readonly connect: boolean;
  /** A sentence for the record. */
  readonly because: string;
  /** The condition `unfenced-source` is to be raised. */
  readonly isUnfenced: boolean;
};

/** Why the source cannot be fenced, a sentence part; null when it can. A fence needs positive evidence. */
export function fenceRefusal({ power }: SourceAtFailover, fence: SourceFence): string | null {
  return fence !== 'none' && power === 'unknown' ? 'its host does not answer' : null;
}

/**
 * The fence that changes something: a source that was off, disconnected or gone before is left alone, so that neither
 * a failed failover nor an undo starts or connects what nobody had running or connected.
 */
export function neededFence(source: SourceAtFailover, fence: SourceFence): SourceFence {
  if (source.power === 'absent') return 'none';
  if (fence === 'nics') return source.isConnected ? fence : 'none';
  return source.power === 'off' ? 'none' : fence;
}

export function decideConnection(
  source: SourceAtFailover,
  fence: SourceFence,
  acceptsDuplicate: boolean,
  siblings: readonly SiblingAtFailover[] = [],
): ConnectionDecision {
  const decision = decideBesideSource(source, fence, acceptsDuplicate);
  return decision.connect ? decideBesideSiblings(decision, siblings, acceptsDuplicate) : decision;
}

function decideBesideSiblings(
  decision: ConnectionDecision,
  siblings: readonly SiblingAtFailover[],
  acceptsDuplicate: boolean,
): ConnectionDecision {
  const serving = siblings.find(isServing);
  const silent = siblings.find(({ power }) => power === 'unknown');
  if (serving !== undefined) {
    const because = `${named(serving)}, is running and connected`;
    return acceptsDuplicate
      ? {
          connect: true,
          because: `${because}, and the duplicate was expressly accepted`,
          isUnfenced: true,
        }
      : { connect: false, because, isUnfenced: false };
  }
  if (silent === undefined) return decision;
  const because = `${decision.because}; ${named(silent)}, does not answer and may still be running`;
  return { connect: true, because, isUnfenced: true };
}

function decideBesideSource(
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
