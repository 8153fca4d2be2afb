/** Which of their numbered writes guests, restore points and kept branches still have: what became of the work of a VM. */
import { ledgerRecords } from '../../../src/simulator/guest.ts';
import { type Image, readBlock } from '../../../src/simulator/image.ts';
import { listedPoints } from '../../../src/simulator/replica-folder.ts';
import type { World } from '../../../src/simulator/world.ts';

/** One sentence per VM that has disks, and per newest restore point. */
export function ledgers(world: World): readonly string[] {
  const found: string[] = [];
  for (const host of world.hosts.values()) {
    for (const vm of host.vms.values()) {
      const { ledger } = vm.state.guest;
      const slot = vm.state.disks.find(({ key }) => key === ledger?.disk);
      const file = world.files.get(slot?.path ?? '');
      if (file?.type !== 'disk') continue;
      found.push(`ledger of ${vm.state.name} on ${host.id}: ${ledgerIn(file.image)}`);
    }
    for (const folder of host.replicas.values()) {
      const newest = listedPoints(folder).at(-1);
      for (const { layerId } of newest?.disks.slice(-1) ?? []) {
        const layer = folder.layers.get(layerId);
        if (layer === undefined) continue;
        found.push(`ledger in ${newest?.id} of ${folder.name}: ${ledgerIn(layer.image)}`);
      }
    }
  }
  return found;
}

/** `1..37`, and how many are missing in between. */
function ledgerIn(image: Image): string {
  const { sizeBytes } = image;
  const records = ledgerRecords({ sizeBytes, read: (index) => readBlock(image, index) });
  const [first, last] = [records[0], records.at(-1)];
  if (first === undefined || last === undefined) return 'empty';
  const missing = last - first + 1 - records.length;
  return `${first}..${last}${missing === 0 ? '' : `, ${missing} missing in between`}`;
}
