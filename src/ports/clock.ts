import type { Instant } from '../domain/instant.ts';
import type { CallOptions } from './call.ts';

/** Time. The wall clock may jump; the monotonic one never does and means nothing across restarts. */
export interface Clock {
  /** Wall-clock time, for records that people read. */
  now(): Instant;
  /** Milliseconds since an arbitrary moment, never going back: for durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after at least `ms`; rejects with `cancelled` as soon as the signal is aborted. */
  sleep(ms: number, options: SleepOptions): Promise<void>;
}

export type SleepOptions = CallOptions & {
  /** What is waited for is housekeeping: a process that has nothing else to do ends without it. */
  readonly isBackground?: boolean;
};
