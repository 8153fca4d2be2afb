/**
 * What somebody changed on a replica while it stood in, compared with the VM that is to take over again. It is shown before
 * a switchover, and carried over to production only on request.
 */
import { formatBytes } from '../bytes.ts';
import type { DiskKey } from '../ids.ts';
import type { VmDescription } from './vm.ts';

export type ConfigurationChange =
  | { readonly type: 'memory'; readonly fromBytes: number; readonly toBytes: number }
  | { readonly type: 'cpus'; readonly from: number; readonly to: number }
  | { readonly type: 'nic-added'; readonly mac: string; readonly network: string }
  | { readonly type: 'nic-removed'; readonly mac: string; readonly network: string }
  | { readonly type: 'disk-added'; readonly key: DiskKey; readonly sizeBytes: number }
  | { readonly type: 'disk-removed'; readonly key: DiskKey }
  | {
      readonly type: 'disk-grown';
      readonly key: DiskKey;
      readonly fromBytes: number;
      readonly toBytes: number;
    };

/** From production as it is to the replica as it is. NICs are known by their address; one without is nobody's. */
export function configurationChanges(
  production: VmDescription,
  replica: VmDescription,
): readonly ConfigurationChange[] {
  const changes: ConfigurationChange[] = [];
  if (production.memoryBytes !== replica.memoryBytes) {
    const { memoryBytes: fromBytes } = production;
    changes.push({ type: 'memory', fromBytes, toBytes: replica.memoryBytes });
  }
  if (production.cpuCount !== replica.cpuCount) {
    changes.push({ type: 'cpus', from: production.cpuCount, to: replica.cpuCount });
  }
  return [...changes, ...nicChanges(production, replica), ...diskChanges(production, replica)];
}

function nicChanges(production: VmDescription, replica: VmDescription): ConfigurationChange[] {
  const missingIn = ({ nics }: VmDescription) => {
    const macs = new Set(nics.map(({ mac }) => mac));
    return (nic: { readonly mac: string | null }) => nic.mac !== null && !macs.has(nic.mac);
  };
  const named = (type: 'nic-added' | 'nic-removed') => {
    return ({ mac, network }: VmDescription['nics'][number]): ConfigurationChange => {
      return { type, mac: mac ?? '', network };
    };
  };
  return [
    ...replica.nics.filter(missingIn(production)).map(named('nic-added')),
    ...production.nics.filter(missingIn(replica)).map(named('nic-removed')),
  ];
}

function diskChanges(production: VmDescription, replica: VmDescription): ConfigurationChange[] {
  const added = replica.disks.flatMap(({ key, sizeBytes }): ConfigurationChange[] => {
    const own = production.disks.find((disk) => disk.key === key);
    if (own === undefined) return [{ type: 'disk-added', key, sizeBytes }];
    if (sizeBytes <= own.sizeBytes) return [];
    return [{ type: 'disk-grown', key, fromBytes: own.sizeBytes, toBytes: sizeBytes }];
  });
  const removed = production.disks.flatMap(({ key }): ConfigurationChange[] => {
    return replica.disks.some((disk) => disk.key === key) ? [] : [{ type: 'disk-removed', key }];
  });
  return [...added, ...removed];
}

/** One line for people. */
export function describeChange(change: ConfigurationChange): string {
  switch (change.type) {
    case 'memory':
      return `memory: ${formatBytes(change.fromBytes)} in production, ${formatBytes(change.toBytes)} on the replica`;
    case 'cpus':
      return `processors: ${change.from} in production, ${change.to} on the replica`;
    case 'nic-added':
      return `NIC ${change.mac} on ${change.network}: only on the replica`;
    case 'nic-removed':
      return `NIC ${change.mac} on ${change.network}: only in production`;
    case 'disk-added':
      return `disk ${change.key} of ${formatBytes(change.sizeBytes)}: only on the replica`;
    case 'disk-removed':
      return `disk ${change.key}: only in production`;
    case 'disk-grown':
      return `disk ${change.key}: ${formatBytes(change.fromBytes)} in production, ${formatBytes(change.toBytes)} on the replica`;
  }
}
