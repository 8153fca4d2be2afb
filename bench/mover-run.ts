/** One transfer in a process of its own, for `mover.ts`: arguments are [source, target], size and
 * spool. What it prints is about the transfer, with the start of workers but without that of the process: in
 * life the mover is part of a process that runs anyway. */
import { operationId, operationKey } from '../src/domain/ids.ts';
import { createMover } from '../src/host/mover/mover.ts';
import type { BlockEndpoint } from '../src/ports/mover.ts';
import { systemClock } from '../src/system/clock.ts';

const [ends = '', sizeBytes = '', recordsPath = ''] = process.argv.slice(2);
const [source, target] = JSON.parse(ends) as [BlockEndpoint, BlockEndpoint];
const mover = createMover({ clock: systemClock() });
const before = process.memoryUsage.rss();
const cpuBefore = process.cpuUsage();
const { durationMs } = await mover.transfer(
  {
    key: operationKey(operationId('bench'), 'move'),
    source,
    target,
    sizeBytes: Number(sizeBytes),
    extents: { type: 'allocated' },
    targetReads: 'zeros',
    knownHashesPath: null,
    recordsPath,
    bytesPerSecondMax: null,
  },
  { signal: new AbortController().signal },
);
const { user, system } = process.cpuUsage(cpuBefore);
const addedBytes = process.resourceUsage().maxRSS * 1024 - before;
const figures = { seconds: durationMs / 1000, cpuSeconds: (user + system) / 1e6, addedBytes };
console.log(JSON.stringify(figures));
