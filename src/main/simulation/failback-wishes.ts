/** Moves that people make to bring the work home again: failbacks of every kind, and the ways out of them. */
import type { SwitchoverMode } from '../../domain/failover/failback.ts';
import { instant } from '../../domain/instant.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type {
  FailbackDestination,
  FailbackOrder,
  ShutdownOrder,
  UndoFailbackOrder,
} from '../../ports/orders.ts';
import { contentOf } from '../../simulator/image.ts';
import type { DiskSlot, SimulatedVm } from '../../simulator/vm.ts';
import type { DiskSpec } from '../../simulator/vm-factory.ts';
import { about, hostsOf, type Move, ownVms, pick, type Scene, sourceVms } from './scene.ts';
import { BY_HAND } from './site.ts';

/** New homes are made for as long as a host has fewer VMs of its own. */
const VMS_MAX = 4;
const LATER_MS_MAX = 20 * 60_000;
const SHUTDOWN_DEADLINE_MS = 120_000;

export const FAILBACK_WISHES: readonly Move[] = [
  about('fail back', 8, ['Failover'], (controller, { id }, scene) =>
    controller.failback(id, failbackOrder(scene, { type: 'original' }), BY_HAND),
  ),
  about('fail back to a new place', 1.5, ['Failover'], (controller, { id }, scene) =>
    controller.failback(id, failbackOrder(scene, newHome(scene)), BY_HAND),
  ),
  about('fail back to a copy', 1.5, ['Failover'], (controller, replica, scene) =>
    controller.failback(replica.id, failbackOrder(scene, copyOf(scene, replica)), BY_HAND),
  ),
  about('switch over', 8, ['ReadyToSwitch'], (controller, { id }, scene) =>
    controller.switchOver(id, shutdownOrder(scene), BY_HAND),
  ),
  about('cancel the failback of', 1.5, ['ReadyToSwitch'], (controller, { id }) =>
    controller.cancelFailback(id, BY_HAND),
  ),
  about('commit the failback of', 7, ['Failback'], (controller, { id }) =>
    controller.commitFailback(id, BY_HAND),
  ),
  about('undo the failback of', 2, ['Failback'], (controller, { id }) =>
    controller.undoFailback(id, undoOrder(false), BY_HAND),
  ),
  about('undo by force the failback of', 0.7, ['Failback'], (controller, { id }) =>
    controller.undoFailback(id, undoOrder(true), BY_HAND),
  ),
  {
    name: 'restore a copy',
    weight: 1,
    act: (scene) => {
      const replica = pick(
        scene,
        scene.replicas.filter(({ phase }) => phase === 'Failover'),
      );
      return replica === null ? null : restoreCopy(scene, replica);
    },
  },
];

function failbackOrder(scene: Scene, to: FailbackDestination): FailbackOrder {
  const { random } = scene;
  return {
    to,
    switchover: switchoverMode(scene),
    discardSavedState: random.chance(0.5),
    applyChanges: random.chance(0.3),
    shutdownDeadlineMs: SHUTDOWN_DEADLINE_MS,
  };
}

function switchoverMode({ random, site }: Scene): SwitchoverMode {
  const type = random.pick(['automatic', 'manual', 'manual', 'at', 'below'] as const);
  if (type === 'at') {
    return { type, at: instant(site.world.clock.now() + random.below(LATER_MS_MAX)) };
  }
  return type === 'below' ? { type, bytes: random.pick([0, 256 * 1024]) } : { type };
}

export function undoOrder(force: boolean): UndoFailbackOrder {
  return { force, shutdownDeadlineMs: SHUTDOWN_DEADLINE_MS };
}

function shutdownOrder({ random }: Scene): ShutdownOrder {
  return {
    shutdownDeadlineMs: 30_000,
    onMissedDeadline: random.pick(['power-off', 'power-off', 'ask', 'give-up']),
  };
}

function newHome(scene: Scene): FailbackDestination {
  const counts = new Map<string, number>();
  for (const { host } of sourceVms(scene)) counts.set(host.id, (counts.get(host.id) ?? 0) + 1);
  const host = pick(
    scene,
    hostsOf(scene).filter(({ id }) => (counts.get(id) ?? 0) < VMS_MAX),
  );
  return { type: 'new', host: host?.id ?? null, name: `home-${scene.random.hex(4)}` };
}

function copyOf(scene: Scene, { sourceVmName }: Replica): FailbackDestination {
  const copies = sourceVms(scene).filter(({ vm }) => vm.state.name === copyName(sourceVmName));
  const copy = pick(scene, copies);
  return {
    type: 'copy',
    host: copy?.host.id ?? null,
    vm: copy?.vm.state.name ?? copyName(sourceVmName),
  };
}

function copyName(name: string): string {
  return `${name}-restored`;
}

/** From a backup that somebody else made: much of what the source has, and it is off. */
function restoreCopy(scene: Scene, { sourceVmId, sourceVmName, targetHostId }: Replica) {
  const source = ownVms(scene).find(({ vm }) => vm.id === sourceVmId)?.vm;
  const host = pick(
    scene,
    hostsOf(scene).filter(({ id }) => id !== targetHostId),
  );
  const name = copyName(sourceVmName);
  const isThere = sourceVms(scene).some(({ vm }) => vm.state.name === name);
  if (source === undefined || host === null || isThere) return null;
  const { disks, guest, identity } = source.state;
  const specs = disks.map((slot) => specOf(source, slot));
  const copy = scene.site.world.addVm(host, { name, guest, identity, disks: specs });
  copy.start();
  for (const { key } of disks) {
    for (const [block, token] of contentOf(source.image(key))) {
      if (scene.random.chance(0.8)) copy.write(key, block, token);
    }
  }
  copy.stop();
  return `somebody restores ${sourceVmName} as ${name} on ${host.id}`;
}

/** As large as the disk is now. */
function specOf(source: SimulatedVm, { key, format }: DiskSlot): DiskSpec {
  return { key, format, sizeBytes: source.image(key).sizeBytes };
}
