import { diskKey } from '../../../src/domain/ids.ts';
import type { DiskSpec } from '../../../src/simulator/vm-factory.ts';
import type { World } from '../../../src/simulator/world.ts';
import { byteCount, durationMs, hostNamed } from './words.ts';

const DISK = /^(raw )?disk (\S+) (.+)$/;
const LEDGER_EVERY_MS = 60_000;

/**
 * A running VM with a few blocks on `vda`, whose guest numbers its writes on `vdb`. Wishes: `disk vda 8 MiB`,
 * `raw disk vdb 1 MiB`, `ledger every 10 s`, `no ledger`, `no agent`, `ignores shutdown`, `off`.
 */
export function makeVm(world: World, words: Readonly<Record<string, string | undefined>>): void {
  const wishes = words.wishes?.split(', ') ?? [];
  const asked = wishes.flatMap((wish): DiskSpec[] => {
    const match = DISK.exec(wish);
    if (match === null) return [];
    const format = match[1] === undefined ? 'qcow2' : 'raw';
    return [{ key: diskKey(match[2] ?? ''), sizeBytes: byteCount(match[3]), format }];
  });
  const disks = asked.length > 0 ? asked : [plain('vda', '8 MiB'), plain('vdb', '16 MiB')];
  const ledgerDisk = disks.at(-1)?.key ?? diskKey('vda');
  const every = wishes
    .find((wish) => wish.startsWith('ledger every '))
    ?.slice('ledger every '.length);
  const everyMs = every === undefined ? LEDGER_EVERY_MS : durationMs(every);
  const vm = world.addVm(hostNamed(world, words.host), {
    name: words.name ?? '',
    disks,
    guest: {
      hasAgent: !wishes.includes('no agent'),
      shutdownMs: wishes.includes('ignores shutdown') ? null : 2000,
      ledger: wishes.includes('no ledger') ? null : { disk: ledgerDisk, everyMs },
    },
  });
  vm.start();
  for (let block = 0; block < 8; block += 1) vm.write(diskKey('vda'), block, `boot ${block}`);
  if (wishes.includes('off')) vm.stop();
}

function plain(key: string, size: string): DiskSpec {
  return { key: diskKey(key), sizeBytes: byteCount(size) };
}
