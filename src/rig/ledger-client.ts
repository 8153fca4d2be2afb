/** Talks to the ledger of a guest over HTTP (guest/ledger.c) and parses what it answers. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface LedgerState {
  /** Records on disk; the newest has the number `seq - 1`. */
  readonly seq: number;
  /** Checksum of the newest record, 16 hexadecimal digits; each record covers the one before. */
  readonly sum: string;
  /** Which boot this is, counted in the ledger itself; 0 while verifying. */
  readonly boot: number;
  /** Number that the first record of this boot has: all below were there before. */
  readonly firstThisBoot: number;
  /** Intact records found at boot. */
  readonly verified: number;
  /** Torn or stray records found at boot, plus failed writes since. */
  readonly errors: number;
  /** Clock of the guest, ms since 1970. */
  readonly now: number;
  /** Since the guest's kernel started, ms. */
  readonly up: number;
  /** Pause between records, ms. */
  readonly interval: number;
  /** The chain is still being read; `seq`, `boot` and `verified` are not meaningful yet. */
  readonly verifying: boolean;
  readonly paused: boolean;
  /** No room for further records. */
  readonly full: boolean;
  /** Checksum and time of the last record before this boot. */
  readonly previousSum: string;
  readonly previousAt: number;
  /** Records that fit. */
  readonly capacity: number;
  /** Size of the area that `/fill` writes. */
  readonly fillBytes: number;
}

export interface LedgerRecord {
  readonly seq: number;
  readonly at: number;
  readonly boot: number;
  readonly previousSum: string;
  readonly sum: string;
}

export interface HttpOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** @throws Error when the guest does not answer in time (default 5 s) or answers with an error. */
export async function getJson(
  url: string,
  { timeoutMs = 5000, signal }: HttpOptions = {},
): Promise<Record<string, unknown>> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const response = await fetch(url, {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.trim()}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/**
 * Asks until the guest answers and its chain is verified, with a new connection each time: user networking accepts
 * a connection long before the guest has an address, and such a one may never be served.
 *
 * @throws Error after `deadlineMs` (default 60 s).
 */
export async function waitForLedger(
  baseUrl: string,
  { deadlineMs = 60_000, signal }: { deadlineMs?: number; signal?: AbortSignal | undefined } = {},
): Promise<LedgerState> {
  const end = Date.now() + deadlineMs;
  let timeoutMs = 300;
  let cause: unknown;
  while (Date.now() < end) {
    try {
      const state = parseLedgerState(await getJson(baseUrl, { timeoutMs, signal }));
      if (!state.verifying) return state;
    } catch (error) {
      signal?.throwIfAborted();
      cause = error;
      // On a busy machine an answer takes longer; a lost connection should not cost much more.
      timeoutMs = Math.min(timeoutMs * 1.2, 3000);
    }
    await sleep(30, undefined, { signal });
  }
  throw new Error(`The guest at ${baseUrl} did not answer within ${deadlineMs} ms`, { cause });
}

export function parseLedgerState(json: Record<string, unknown>): LedgerState {
  return {
    seq: number(json, 'seq'),
    sum: string(json, 'sum'),
    boot: number(json, 'boot'),
    firstThisBoot: number(json, 'firstThisBoot'),
    verified: number(json, 'verified'),
    errors: number(json, 'errors'),
    now: number(json, 'now'),
    up: number(json, 'up'),
    interval: number(json, 'interval'),
    verifying: json.verifying === true,
    paused: json.paused === true,
    full: json.full === true,
    previousSum: string(json, 'previousSum'),
    previousAt: number(json, 'previousAt'),
    capacity: number(json, 'capacity'),
    fillBytes: number(json, 'fillBytes'),
  };
}

export function parseLedgerRecord(json: Record<string, unknown>): LedgerRecord {
  return {
    seq: number(json, 'seq'),
    at: number(json, 'at'),
    boot: number(json, 'boot'),
    previousSum: string(json, 'previousSum'),
    sum: string(json, 'sum'),
  };
}

function number(json: Record<string, unknown>, key: string): number {
  const value = json[key];
  if (typeof value !== 'number') throw new Error(`The ledger's answer has no number ${key}`);
  return value;
}

function string(json: Record<string, unknown>, key: string): string {
  const value = json[key];
  if (typeof value !== 'string') throw new Error(`The ledger's answer has no text ${key}`);
  return value;
}
