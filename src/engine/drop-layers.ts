/**
 * Takes the working layers from over production's disks, and with them what lay beneath: no mark could be swept from those
 * disks while the layers hid them.
 */
import type { VmId } from '../domain/ids.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { FailbackCommand } from '../ports/production-disks.ts';
import { keptMarks } from './kept-marks.ts';
import type { ReplicaFacts } from './replica-facts.ts';

export type LaidLayers = Pick<ReplicaFacts, 'replica' | 'newest'> & {
  readonly catalog: Catalog;
  readonly home: Pick<HostPorts, 'productionDisks' | 'pointSource'>;
  /** The VM under the layers; null: none was made yet. */
  readonly vmId: VmId | null;
};

export async function dropLayers(
  { replica, newest, catalog, home, vmId }: LaidLayers,
  command: FailbackCommand,
  options: CallOptions,
): Promise<void> {
  await home.productionDisks.drop(command, options);
  if (vmId !== replica.sourceVmId) return; // a restored copy has no marks yet
  const keep = await keptMarks(catalog, replica, newest);
  await home.pointSource.sweepMarks({ vmId, keep }, options);
}
