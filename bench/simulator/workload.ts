/** What both measurements share: a simulated site that counts steps, jobs for its VMs, and the cost of a piece of work. */
import { MIB } from '../../src/domain/bytes.ts';
import { diskKey, hostId } from '../../src/domain/ids.ts';
import { DEFAULT_ARCHIVE_SECONDS, DEFAULT_SCRATCH } from '../../src/domain/job/job.ts';
import type { OperationEvent, OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Observer } from '../../src/main/simulation/life.ts';
import { BY_HAND, type Site } from '../../src/main/simulation/site.ts';
import type { CatalogChange } from '../../src/ports/catalog.ts';

const VDA = diskKey('vda');

export type Counts = {
  /** Journaled: a step that succeeded, or was undone. */
  steps: number;
  /** Operations that succeeded, by kind. */
  readonly succeeded: Map<string, number>;
  readonly failed: string[];
  onChange: (change: CatalogChange) => void;
};

export function countingObserver(): { readonly counts: Counts; readonly observer: Observer } {
  const counts: Counts = { steps: 0, succeeded: new Map(), failed: [], onChange: () => undefined };
  return {
    counts,
    observer: {
      onEvent: (event, operation) => count(counts, event, operation),
      onChanges: (changes) => {
        for (const change of changes) counts.onChange(change);
      },
      onDeath: () => undefined,
    },
  };
}

function count(counts: Counts, { type, message }: OperationEvent, { kind }: OperationRecord): void {
  if (type === 'step-succeeded' || type === 'step-undone') counts.steps += 1;
  if (type === 'succeeded') counts.succeeded.set(kind, (counts.succeeded.get(kind) ?? 0) + 1);
  if (type === 'failed' || type === 'suspended') counts.failed.push(`${kind}: ${message}`);
}

/** VMs that run on the first of two hosts, with a ledger, protected by one job. */
export async function protect(
  site: Site,
  { source, target, names, everySeconds }: Protection,
): Promise<void> {
  for (const name of names) {
    const guest = { ledger: { disk: VDA, everyMs: 20_000 } };
    const disks = [{ key: VDA, sizeBytes: 16 * MIB }];
    const vm = site.world.addVm(site.world.host(hostId(source)), { name, guest, disks });
    vm.start();
    for (let block = 0; block < 16; block += 1) vm.write(VDA, block, `boot-${block}`);
  }
  const creation = await site.run(
    site.living.controller.createJob(
      {
        name: `${source} to ${target}`,
        sourceHost: source,
        targetHost: target,
        vms: names,
        rpoSeconds: everySeconds ?? 900,
        isScheduled: everySeconds !== null,
        retention: { keepLast: 5, tiers: [] },
        quiesce: 'never',
        replicaSuffix: '-replica',
        networkMap: {},
        bytesPerSecondMax: null,
        archiveSeconds: DEFAULT_ARCHIVE_SECONDS,
        scratch: DEFAULT_SCRATCH,
        testing: null,
      },
      BY_HAND,
    ),
  );
  if (creation.type === 'blocked') throw new Error('the job is blocked by a finding');
}

type Protection = {
  readonly source: string;
  readonly target: string;
  readonly names: readonly string[];
  /** Null: by hand only. */
  readonly everySeconds: number | null;
};

export type Cost = { readonly wallSeconds: number; readonly cpuSeconds: number };

/** Processor time counts all threads of this process, so that what else the machine does hardly matters. */
export async function costOf(work: () => Promise<void>): Promise<Cost> {
  const [startedMs, before] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return {
    wallSeconds: (performance.now() - startedMs) / 1000,
    cpuSeconds: (user + system) / 1_000_000,
  };
}
