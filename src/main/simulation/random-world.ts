/** The site that random steps are played on: three hosts, four VMs, every VM protected, one of them twice. */
import { MIB } from '../../domain/bytes.ts';
import { diskKey, hostId } from '../../domain/ids.ts';
import { DEFAULT_SCRATCH } from '../../domain/job/job.ts';
import type { CreateJob } from '../../ports/job-orders.ts';
import type { VmSpec } from '../../simulator/vm-factory.ts';
import { BY_HAND, type Site } from './site.ts';

export const HOSTS = ['north', 'south', 'east'] as const;

const VDA = diskKey('vda');
const VDB = diskKey('vdb');

const VMS: readonly (VmSpec & { readonly host: string })[] = [
  vm('web', 'north', { ledger: { disk: VDB, everyMs: 20_000 } }),
  vm('mail', 'north', { hasAgent: false, shutdownMs: null }),
  vm('shop', 'south', { ledger: { disk: VDA, everyMs: 60_000 }, bootMs: 20_000 }),
  { ...vm('wiki', 'east', {}), disks: [{ key: VDA, sizeBytes: 2 * MIB, format: 'raw' }] },
];

function vm(name: string, host: string, guest: NonNullable<VmSpec['guest']>) {
  const disks = [
    { key: VDA, sizeBytes: 4 * MIB },
    { key: VDB, sizeBytes: 2 * MIB },
  ];
  return { name, host, guest, disks };
}

export const JOBS: readonly CreateJob[] = [
  job('north to south', 'north', 'south', ['web', 'mail'], 600),
  job('south to north', 'south', 'north', ['shop'], 900),
  job('east to north', 'east', 'north', ['wiki'], 3600),
  { ...job('north to east', 'north', 'east', ['web'], 1800), replicaSuffix: '-far' },
];

function job(name: string, source: string, target: string, vms: readonly string[], rpo: number) {
  return {
    name,
    sourceHost: source,
    targetHost: target,
    vms,
    rpoSeconds: rpo,
    isScheduled: true,
    retention: { keepLast: 3, tiers: [{ everySeconds: 3600, forSeconds: 4 * 3600 }] },
    quiesce: 'if-possible',
    replicaSuffix: '-replica' as string,
    networkMap: {},
    bytesPerSecondMax: null,
    archiveSeconds: 2 * 3600,
    scratch: DEFAULT_SCRATCH,
    testing: null,
  } as const;
}

export async function populate(site: Site): Promise<void> {
  const { world } = site;
  for (const { host, ...spec } of VMS) {
    const made = world.addVm(world.host(hostId(host)), spec);
    made.start();
    for (let block = 0; block < 6; block += 1) made.write(VDA, block, `boot-${block}`);
  }
  for (const request of JOBS) await site.run(site.living.controller.createJob(request, BY_HAND));
}
