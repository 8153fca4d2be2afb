/**
 * What runs inside a VM. The ledger guest appends numbered records to a disk, one per tick, and after a boot goes on
 * behind the last one it finds there: what it reads after a failover shows which writes survived.
 */
import { blockCount } from '../domain/bytes.ts';
import type { DiskKey } from '../domain/ids.ts';
import type { Token } from './image.ts';

export type GuestSpec = {
  readonly hasAgent?: boolean;
  /** From power on until the guest answers. */
  readonly bootMs?: number;
  /** How long a graceful shutdown takes; null: the guest ignores the request. */
  readonly shutdownMs?: number | null;
  readonly ledger?: LedgerSpec | null;
  /** Of its NICs on production networks. */
  readonly address?: string;
};

export type LedgerSpec = { readonly disk: DiskKey; readonly everyMs: number };

export type Guest = {
  hasAgent: boolean;
  bootMs: number;
  shutdownMs: number | null;
  ledger: LedgerSpec | null;
  readonly address: string;
};

export function createGuest(spec: GuestSpec): Guest {
  return {
    hasAgent: spec.hasAgent ?? true,
    bootMs: spec.bootMs ?? 3000,
    shutdownMs: spec.shutdownMs === undefined ? 2000 : spec.shutdownMs,
    ledger: spec.ledger ?? null,
    address: spec.address ?? '192.0.2.10',
  };
}

/** What a ledger needs of its disk. */
export type LedgerDisk = {
  readonly sizeBytes: number;
  read(index: number): Token;
  write(index: number, token: Token): void;
};

/** Records wrap around at the end of the disk, so that a long run overwrites its oldest blocks. */
export function appendRecord(disk: LedgerDisk, number: number): void {
  disk.write((number - 1) % blockCount(disk.sizeBytes), recordToken(number));
}

/** The numbers found on the disk, ascending. */
export function ledgerRecords(disk: Pick<LedgerDisk, 'sizeBytes' | 'read'>): readonly number[] {
  const found: number[] = [];
  for (let index = 0; index < blockCount(disk.sizeBytes); index += 1) {
    const match = /^record-(\d+)$/.exec(String(disk.read(index)));
    if (match !== null) found.push(Number(match[1]));
  }
  return found.sort((a, b) => a - b);
}

/** Null when the records are without a gap up to the last one; else what is wrong. */
export function ledgerFault(records: readonly number[], capacity: number): string | null {
  const last = records.at(-1) ?? 0;
  const first = Math.max(1, last - capacity + 1);
  for (let index = 0; index <= last - first; index += 1) {
    if (records[index] !== first + index && last > 0) return `record ${first + index} is missing`;
  }
  return null;
}

function recordToken(number: number): Token {
  return `record-${number}`;
}
