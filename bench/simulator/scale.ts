/** What a controller costs that keeps many VMs within an RPO of a minute: processor time, memory, and whether it succeeds. */
import type { ReplicaId } from '../../src/domain/ids.ts';
import type { Instant } from '../../src/domain/instant.ts';
import { Site } from '../../src/main/simulation/site.ts';
import type { CatalogChange } from '../../src/ports/catalog.ts';
import { heading } from '../system/figures.ts';
import { costOf, countingObserver, protect } from './workload.ts';

const RPO_SECONDS = 60;
const CORES_MAX = 1;
const MEMORY_MAX_MIB = 512;

export async function benchScale(size: {
  readonly vms: number;
  readonly hosts: number;
  readonly minutes: number;
}): Promise<void> {
  heading(`${size.vms} VMs on ${size.hosts} hosts, RPO ${RPO_SECONDS} s`);
  const { counts, observer } = countingObserver();
  const hosts = Array.from({ length: size.hosts }, (_, index) => `host-${index}`);
  const emptyMib = process.resourceUsage().maxRSS / 1024;
  const spec = { seed: 1, hosts, hasScheduler: true, observer, isObserved: false };
  await using site = await Site.open(spec);
  await protectAll(site, hosts, size.vms);
  const { clock } = site.world;
  const missed = watchRpo(counts);
  await clock.advance(2 * RPO_SECONDS * 1000); // every VM has its first point, and the runs have found their pace
  missed.begin();
  const runsBefore = counts.succeeded.get('replicate') ?? 0;
  const stepsBefore = counts.steps;
  const cost = await costOf(() => clock.advance(size.minutes * 60_000));
  const runs = (counts.succeeded.get('replicate') ?? 0) - runsBefore;
  const cores = cost.cpuSeconds / (size.minutes * 60);
  const peakMib = process.resourceUsage().maxRSS / 1024;
  const word = (isMet: boolean) => (isMet ? 'met' : 'MISSED');
  console.log(
    `${size.minutes} virtual minutes took ${cost.wallSeconds.toFixed(0)} s: ${runs} runs, ${counts.steps - stepsBefore} steps, ` +
      `${counts.failed.length} failures, ${missed.describe()}`,
  );
  console.log(
    `processor: ${cores.toFixed(2)} of a core, the simulated hosts included; target < ${CORES_MAX}: ${word(cores < CORES_MAX)}`,
  );
  console.log(
    `memory: ${peakMib.toFixed(0)} MiB resident at most (${emptyMib.toFixed(0)} before the site was made), the simulated hosts and their disks ` +
      `included; target < ${MEMORY_MAX_MIB} MiB: ${word(peakMib < MEMORY_MAX_MIB)}`,
  );
}

/** Every host is the source of its share, and the target of its neighbour's. */
async function protectAll(site: Site, hosts: readonly string[], vms: number): Promise<void> {
  const share = Math.ceil(vms / hosts.length);
  for (const [index, source] of hosts.entries()) {
    const target = hosts[(index + 1) % hosts.length] ?? source;
    const count = Math.min(share, vms - index * share);
    const names = Array.from({ length: count }, (_, n) => `vm-${index}-${n}`);
    await protect(site, { source, target, names, everySeconds: RPO_SECONDS });
  }
}

/**
 * A point is late when the one before was older than the RPO at the moment this one was there; and that is a broken promise unless
 * the condition was raised before. A point that is saved again, because a merge renamed its layers, is no new one.
 */
function watchRpo(counts: { onChange: (change: CatalogChange) => void }) {
  const newest = new Map<ReplicaId, Instant>();
  const breaches = new Map<ReplicaId, Instant>();
  let isWatching = false;
  let [points, late, untold, oldestMs] = [0, 0, 0, 0];
  counts.onChange = (change) => {
    if (change.type === 'condition-raised' && change.condition.name === 'rpo-breached')
      breaches.set(change.replicaId, change.condition.since);
    if (change.type === 'condition-cleared' && change.name === 'rpo-breached')
      breaches.delete(change.replicaId);
    if (change.type !== 'point-saved') return;
    const { replicaId, takenAt, sealedAt } = change.point;
    const before = newest.get(replicaId);
    if (before !== undefined && takenAt <= before) return;
    newest.set(replicaId, takenAt);
    if (!isWatching || before === undefined) return;
    const ageMs = sealedAt - before;
    points += 1;
    oldestMs = Math.max(oldestMs, ageMs);
    if (ageMs <= RPO_SECONDS * 1000) return;
    late += 1;
    const toldAt = breaches.get(replicaId);
    if (toldAt === undefined || toldAt > before + RPO_SECONDS * 1000) untold += 1;
  };
  return {
    begin: () => {
      isWatching = true;
    },
    describe: () =>
      `${late} of ${points} points late for the RPO, ${untold} of them without a word before; ` +
      `a newest point was ${(oldestMs / 1000).toFixed(1)} s old at most`,
  };
}
