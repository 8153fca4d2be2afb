/** Lines that are wishes about the way home: failback of every kind, its switchover, and the ways out of it. */
import type { SwitchoverMode } from '../../../src/domain/failover/failback.ts';
import { instant } from '../../../src/domain/instant.ts';
import { BY_HAND } from '../../../src/main/simulation/site.ts';
import type { FailbackDestination } from '../../../src/ports/orders.ts';
import { addDisk } from '../../../src/simulator/calamities.ts';
import { contentOf } from '../../../src/simulator/image.ts';
import type { Command, Play } from './play.ts';
import { byteCount, durationMs, hostNamed, vmNamed } from './words.ts';

const SHUTDOWN_DEADLINE_MS = 120_000;

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

const idOf = async ({ site }: Play, vm: string | undefined) => (await site.replicaOf(vm ?? '')).id;

export const HOMECOMING: readonly Command[] = [
  line(
    'fail back (?<vm>\\S+)(?: to (?<kind>the copy|a new VM) (?<name>\\S+) on (?<host>\\S+?))?(?:, switching over (?<when>.+?))?(?<discarding>, discarding the saved state)?(?<applying>, applying changes)?',
    async (play, { vm, kind, name, host, when, discarding, applying }) => {
      const id = await idOf(play, vm);
      const order = {
        to: destination(kind, name, host),
        switchover: switchoverMode(play, when),
        discardSavedState: discarding !== undefined,
        applyChanges: applying !== undefined,
        shutdownDeadlineMs: SHUTDOWN_DEADLINE_MS,
      };
      return play.site.ask((controller) => controller.failback(id, order, BY_HAND));
    },
  ),
  line(
    'switch (?<vm>\\S+) over(?:, (?<missed>ask|power-off|give-up) if it refuses)?',
    async (play, words) => {
      const id = await idOf(play, words.vm);
      const missed = (words.missed ?? 'give-up') as 'ask' | 'power-off' | 'give-up';
      const order = { shutdownDeadlineMs: 60_000, onMissedDeadline: missed };
      return play.site.ask((controller) => controller.switchOver(id, order, BY_HAND));
    },
  ),
  line('cancel the failback of (?<vm>\\S+)', async (play, { vm }) => {
    const id = await idOf(play, vm);
    return play.site.ask((controller) => controller.cancelFailback(id, BY_HAND));
  }),
  line('commit the failback of (?<vm>\\S+)', async (play, { vm }) => {
    const id = await idOf(play, vm);
    return play.site.ask((controller) => controller.commitFailback(id, BY_HAND));
  }),
  line('undo the failback of (?<vm>\\S+?)(?<force> by force)?', async (play, { vm, force }) => {
    const id = await idOf(play, vm);
    const order = { force: force !== undefined, shutdownDeadlineMs: SHUTDOWN_DEADLINE_MS };
    return play.site.ask((controller) => controller.undoFailback(id, order, BY_HAND));
  }),
  line('somebody restores (?<vm>\\S+) as (?<name>\\S+) on (?<host>\\S+)', ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    const { disks, guest, identity } = vm.state;
    const host = hostNamed(site.world, words.host);
    const copy = site.world.addVm(host, { name: words.name ?? '', guest, identity, disks: [] });
    for (const { key, sizeBytes } of disks) addDisk(site.world, host, copy, { key, sizeBytes });
    copy.start();
    for (const { key } of disks) {
      for (const [block, token] of contentOf(vm.image(key))) copy.write(key, block, token);
    }
    copy.stop();
  }),
];

function destination(
  kind: string | undefined,
  name: string | undefined,
  host: string | undefined,
): FailbackDestination {
  if (kind === 'the copy') return { type: 'copy', host: host ?? null, vm: name ?? '' };
  if (kind === 'a new VM') return { type: 'new', host: host ?? null, name: name ?? null };
  return { type: 'original' };
}

/** `by itself`, `in 2 h`, `below 1 MiB`; without one, when somebody says so. */
function switchoverMode({ site }: Play, when: string | undefined): SwitchoverMode {
  if (when === undefined) return { type: 'manual' };
  if (when === 'by itself') return { type: 'automatic' };
  if (when.startsWith('below ')) return { type: 'below', bytes: byteCount(when.slice(6)) };
  const inMs = durationMs(when.slice('in '.length));
  return { type: 'at', at: instant(site.world.clock.now() + inMs) };
}
