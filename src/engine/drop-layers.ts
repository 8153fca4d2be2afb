/**
 * Takes the working layers from over production's disks, and with them what lay beneath: no mark could be swept from those
 * disks while the layers hid them.
 */
import type { HostId, VmId } from '../domain/ids.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { FailbackCommand } from '../ports/production-disks.ts';
import { keptMarks } from './kept-marks.ts';
import type { ReplicaFacts } from './replica-facts.ts';

export type LaidLayers = Pick<ReplicaFacts, 'replica' | 'newest'> & {
  readonly catalog: Catalog;
  readonly home: Pick<HostPorts, 'productionDisks' | 'pointSource'>;
  readonly hostId: HostId;
  /** The VM under the layers; null: none was made yet. */
  readonly vmId: VmId | null;
};

export async function dropLayers(
  { replica, newest, catalog, home, hostId, vmId }: LaidLayers,
  command: FailbackCommand,
  options: CallOptions,
): Promise<void> {
  await home.productionDisks.drop(command, options);
  // A restored copy has no marks yet; a new VM, under the source's identity at another host, is gone with its layers.
  if (hostId !== replica.sourceHostId || vmId !== replica.sourceVmId) return;
  const keep = await keptMarks(catalog, replica, newest);
  await home.pointSource.sweepMarks({ vmId, keep }, options);
}
