/**
 * Transfers in a process of its own, for `mover.ts`, as a server makes them in its life: one after the other with one mover. A line of
 * JSON on stdin asks for one; a line on stdout answers. Its time is that of the transfer, with the start of workers but without
 * that of the process. `addedBytes`: the most that was resident, above what was before. Both that and the processor time
 * include what was prepared.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { operationId, operationKey } from '../src/domain/ids.ts';
import { createMover } from '../src/host/mover/mover.ts';
import type { TransferRequest } from '../src/ports/mover.ts';
import { systemClock } from '../src/system/clock.ts';

type Order = Pick<TransferRequest, 'source' | 'target' | 'sizeBytes' | 'recordsPath'> & {
  /** How long the transfer is known of before it begins; null: not at all. */
  readonly freezeMs: number | null;
};

const mover = createMover({ clock: systemClock() });
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await move(JSON.parse(line) as Order)));
}

async function move({ freezeMs, ...request }: Order) {
  // Begins to look for the peak anew: proc_pid_clear_refs(5).
  writeFileSync('/proc/self/clear_refs', '5');
  const before = residentBytes('VmRSS');
  const cpuBefore = process.cpuUsage();
  if (freezeMs !== null) {
    mover.prepare(request.sizeBytes);
    await setTimeout(freezeMs);
  }
  const { durationMs } = await mover.transfer(
    {
      ...request,
      key: operationKey(operationId('bench'), 'move'),
      extents: { type: 'allocated' },
      targetReads: 'zeros',
      knownHashesPath: null,
      bytesPerSecondMax: null,
    },
    { signal: new AbortController().signal },
  );
  const { user, system } = process.cpuUsage(cpuBefore);
  const addedBytes = residentBytes('VmHWM') - before;
  return { seconds: durationMs / 1000, cpuSeconds: (user + system) / 1e6, addedBytes };
}

function residentBytes(name: string): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
}
