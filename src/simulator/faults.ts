/**
 * Faults by operation name. Every call into the world is named `<host>.<port>.<method>`, with a few more
 * names for moments inside a call (`recovery.store.retirePoint:merged`), and is counted from 1 per name.
 * `*` counts all of them together: stopping at the n-th, for every n, is a crash matrix.
 *
 *   fail          throws, nothing was done        fail-after    done, but the answer is lost
 *   crash-before  the controller dies, not done   crash-after   the controller dies, done
 *   hang          no answer until aborted         slow          done, but late
 *
 * And what befalls the host that is called, before or after it did what it was asked for; the answer is lost in each case:
 *
 *   away-…        it does not answer for some minutes; what runs on it runs on
 *   agent-…       its agent is started anew: what it served is gone, VMs and their own exports live on
 *   power-…       it loses power and is back at once: its VMs are off
 */
import type { ErrorDetails } from '../domain/error.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';

export type FaultKind =
  | 'fail'
  | 'fail-after'
  | 'hang'
  | 'crash-before'
  | 'crash-after'
  | 'slow'
  | `${HostTrouble}-before`
  | `${HostTrouble}-after`;

export type HostTrouble = 'away' | 'agent' | 'power';

export type FaultOptions = {
  /** What `fail` and `fail-after` throw; without it `hypervisor-refused`, which is transient. */
  readonly code?: ErrorCode;
  readonly details?: ErrorDetails;
  /** How late `slow` is; without it a minute. */
  readonly delayMs?: number;
};

export type Fault = { readonly kind: FaultKind; readonly options: FaultOptions };

/** The controller died here. Not an error of the product: nothing of ours may catch and handle it. */
export class CrashSignal extends Error {
  readonly operation: string;

  constructor(operation: string) {
    super(`the controller died at ${operation}`);
    this.name = 'CrashSignal';
    this.operation = operation;
  }
}

export type FaultInjector = {
  /** Plans a fault for the nth call from now on (1: the next) of that name, or of any with `*`. */
  on(operation: string, nth: number, kind: FaultKind, options?: FaultOptions): void;
  /** Drops what has not happened yet. */
  clear(): void;
  /** What has happened, in order: `recovery.store.sealPartial crash-after`. */
  readonly happened: readonly string[];
  /** How many calls there were of that name, or of all with `*`. */
  calls(operation: string): number;
  /** Counts one call and says what befalls it. For the world's own gate. */
  take(operation: string): Fault | null;
};

const DELAY_MS = 60_000;

export function createFaultInjector(): FaultInjector {
  const counts = new Map<string, number>();
  const planned = new Map<string, Fault>();
  const happened: string[] = [];
  const calls = (operation: string) => counts.get(operation) ?? 0;

  function count(operation: string): Fault | null {
    const nth = calls(operation) + 1;
    counts.set(operation, nth);
    const slot = `${operation}#${nth}`;
    const fault = planned.get(slot) ?? null;
    planned.delete(slot);
    return fault;
  }

  return {
    on: (operation, nth, kind, options = {}) => {
      planned.set(`${operation}#${calls(operation) + nth}`, { kind, options });
    },
    clear: () => planned.clear(),
    happened,
    calls,
    take: (operation) => {
      const anyFault = count('*');
      const fault = count(operation) ?? anyFault;
      if (fault !== null) happened.push(`${operation} ${fault.kind}`);
      return fault;
    },
  };
}

export function faultError(operation: string, { options }: Fault): UnderstudyError {
  const reason = 'injected fault';
  const details = { action: operation, endpoint: operation, reason, ...options.details };
  return new UnderstudyError(options.code ?? 'hypervisor-refused', details);
}

/** What befalls the host, if it is that kind of fault, and is due at this moment of the call. */
export function hostTroubleOf(fault: Fault | null, moment: 'before' | 'after'): HostTrouble | null {
  const match = /^(away|agent|power)-(before|after)$/.exec(fault?.kind ?? '');
  return match?.[2] === moment ? (match[1] as HostTrouble) : null;
}

export function faultDelayMs({ options }: Fault): number {
  return options.delayMs ?? DELAY_MS;
}
