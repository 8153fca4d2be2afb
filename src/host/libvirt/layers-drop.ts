/**
 * Dropping working layers: the VM as it was. Once it is parked, nothing can run on the layers any more; from then on there
 * is no look at its power, for it may be started on its own disks the moment they are its own again.
 */
import type { CallOptions } from '../../ports/call.ts';
import type { FailbackCommand } from '../../ports/production-disks.ts';
import { define, findRecord, type Laid, type LayersContext } from './layers-context.ts';
import { park } from './layers-park.ts';
import { type LayersRecord, removeLayers, writeLayers } from './layers-record.ts';
import { endServer } from './layers-server.ts';

export async function drop(
  context: LayersContext,
  command: FailbackCommand,
  options: CallOptions,
): Promise<void> {
  const found = await findRecord(context, command);
  if (found === null) return;
  const { places, record } = found;
  if (record.state === 'committed') {
    const ownDisks = record.layers.filter(({ below }) => below === null);
    await removeLayers(places, record, { keepsDisks: ownDisks.length > 0 || record.hasNvram });
    return;
  }
  const dropping = record.state === 'dropped' ? record : await leave(context, found, options);
  await finishDrop(context, { places, record: dropping }, options);
}

async function leave(
  context: LayersContext,
  { places, record }: Laid,
  options: CallOptions,
): Promise<LayersRecord> {
  const settled = await endServer(context, { places, record }, options);
  const parked = await park(context, { places, record: settled }, options);
  context.crashPoint('drop: parked');
  return writeLayers(places, { ...parked, state: 'dropped' });
}

async function finishDrop(
  context: LayersContext,
  { places, record }: Laid,
  options: CallOptions,
): Promise<void> {
  const { originalXml, vmId, startsWithHost } = record;
  context.crashPoint('drop: begun');
  if (originalXml !== null && vmId !== null) {
    await define(context, originalXml, options);
    context.crashPoint('drop: defined');
    if (startsWithHost) await context.virsh.run(['autostart', '--', vmId], options);
  }
  await removeLayers(places, record, { keepsDisks: false });
}
