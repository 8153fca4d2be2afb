/** Lines about what a first run is compared with: files that somebody brings, VMs and replicas at the target. */
import { parseSeeds } from '../../../src/cli/seeds.ts';
import { diskKey } from '../../../src/domain/ids.ts';
import { BY_HAND } from '../../../src/main/simulation/site.ts';
import { contentOf, createImage, writeBlock } from '../../../src/simulator/image.ts';
import type { Command } from './play.ts';
import { hostNamed, vmNamed } from './words.ts';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

export const SEEDS: readonly Command[] = [
  line(
    'bring (?<disk>\\S+) of (?<vm>\\S+) to (?<host>\\S+) as (?<path>/\\S+?)(?:, without block (?<left>\\d+))?',
    ({ site }, words) => {
      const from = vmNamed(site.world, words.vm).vm.image(diskKey(words.disk ?? ''));
      const { pool: room } = hostNamed(site.world, words.host);
      const { path = '' } = words;
      const { sizeBytes } = from;
      const image = createImage({ path, format: 'qcow2', sizeBytes, backing: null, room });
      for (const [block, token] of contentOf(from)) {
        if (block !== Number(words.left)) writeBlock(image, block, token);
      }
      site.world.files.set(path, { type: 'disk', image });
    },
  ),
  line('somebody deletes the file (?<path>/\\S+)', ({ site }, { path = '' }) => {
    site.world.files.delete(path);
  }),
  line('seed (?<vm>\\S+) from (?<seed>\\S+)', async ({ site }, { vm, seed }) => {
    const { id } = await site.replicaOf(vm ?? '');
    const order = seed === 'nothing' ? null : parseSeeds([seed ?? '']);
    return site.ask(async (controller) => {
      await controller.seedReplica(id, order, BY_HAND);
      return [];
    });
  }),
];
