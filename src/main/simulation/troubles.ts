/** Moves of the world: guests at work, hosts and links that fail, disks that fill up, faults, and people who interfere. */
import { BLOCK_BYTES, blockCount, MIB } from '../../domain/bytes.ts';
import { diskKey } from '../../domain/ids.ts';
import {
  addDisk,
  losePower,
  removeDisk,
  resizeDisk,
  tamperLayer,
  touchLayer,
} from '../../simulator/calamities.ts';
import type { FaultKind } from '../../simulator/faults.ts';
import type { SimulatedHost } from '../../simulator/host.ts';
import type { Image } from '../../simulator/image.ts';
import { freeBytes } from '../../simulator/image.ts';
import { SICK } from '../../simulator/test-bench.ts';
import { allVms, hostsOf, type Move, ownVms, pick, type Scene } from './scene.ts';

const FAULTS: readonly FaultKind[] = [
  'fail',
  'fail',
  'fail-after',
  'fail-after',
  'slow',
  'hang',
  'crash-before',
  'crash-after',
];

/** Something that is wrong with a host until it is healed. */
function hostTrouble(
  name: string,
  weight: number,
  begin: (host: SimulatedHost) => () => void,
): Move {
  return {
    name,
    weight,
    act: (scene) => {
      const host = scene.random.pick(hostsOf(scene));
      const what = `${host.id}: ${name}`;
      if (scene.troubles.has(what)) return null;
      scene.troubles.set(what, begin(host));
      return what;
    },
  };
}

/** Disks with the change marks that they had when they were made smaller. */
const SHRUNK = new WeakMap<Image, readonly string[]>();

/** Grown again before the next run, a disk reads zeros where no mark says so: nobody can tell from outside (docs/concepts/incremental.md). */
function isShrunkSinceRun(image: Image): boolean {
  return SHRUNK.get(image)?.some((name) => image.marks.has(name)) === true;
}

export const TROUBLES: readonly Move[] = [
  {
    name: 'write',
    weight: 25,
    act: (scene) => {
      const placed = pick(
        scene,
        allVms(scene).filter(({ vm }) => vm.power === 'running'),
      );
      const slot = placed === null ? null : pick(scene, placed.vm.state.disks);
      if (placed === null || slot === null) return null;
      const { random } = scene;
      const count = 1 + random.below(20);
      const size = blockCount(placed.vm.image(slot.key).sizeBytes);
      for (let each = 0; each < count; each += 1) {
        const [index, token] = [random.below(size), `w${random.hex(6)}`];
        if (random.chance(0.1)) placed.vm.discard(slot.key, index);
        else placed.vm.write(slot.key, index, token);
      }
      return `${placed.vm.state.name} writes ${count} blocks of ${slot.key}`;
    },
  },
  {
    name: 'start a VM',
    weight: 5,
    act: (scene) => {
      const placed = pick(
        scene,
        allVms(scene).filter(({ vm }) => vm.power === 'off'),
      );
      if (placed === null) return null;
      const { vm, host } = placed;
      const { name, identity } = vm.state;
      try {
        vm.start();
      } catch {
        return `somebody cannot start ${name} on ${host.id}`; // a replica at rest, as it must be
      }
      scene.site.acceptedDuplicates.add(identity); // whoever starts a machine by hand answers for it
      return `somebody starts ${name} on ${host.id}`;
    },
  },
  {
    name: 'stop a VM',
    weight: 3,
    act: (scene) => {
      const placed = pick(
        scene,
        allVms(scene).filter(({ vm }) => vm.power === 'running'),
      );
      if (placed === null) return null;
      const isKilled = scene.random.chance(0.4);
      if (isKilled) placed.vm.losePower();
      else placed.vm.stop();
      const how = isKilled ? 'is killed' : 'is shut down';
      return `${placed.vm.state.name} on ${placed.host.id} ${how}`;
    },
  },
  {
    name: 'power loss',
    weight: 1.5,
    act: (scene) => {
      const host = scene.random.pick(hostsOf(scene));
      losePower(scene.site.world, host);
      return `power loss at ${host.id}`;
    },
  },
  hostTrouble('does not answer', 3, (host) => {
    host.isUnreachable = true;
    return () => {
      host.isUnreachable = false;
    };
  }),
  hostTrouble('its storage stalls', 1, (host) => {
    host.isStorageStalled = true;
    return () => {
      host.isStorageStalled = false;
    };
  }),
  hostTrouble('its storage is nearly full', 2, ({ storage }) => {
    const { capacityBytes } = storage;
    storage.capacityBytes = storage.usedBytes + 4 * BLOCK_BYTES;
    return () => {
      storage.capacityBytes = capacityBytes;
    };
  }),
  hostTrouble('its scratch is nearly full', 1, ({ scratch }) => {
    const { capacityBytes } = scratch;
    scratch.capacityBytes = scratch.usedBytes + 64 * MIB;
    return () => {
      scratch.capacityBytes = capacityBytes;
    };
  }),
  hostTrouble('its clock is wrong', 0.5, (host) => {
    host.clockOffsetMs = -3600_000;
    return () => {
      host.clockOffsetMs = 0;
    };
  }),
  linkTrouble('is cut', 3, (link) => {
    link.isUp = false;
  }),
  linkTrouble('loses packets', 1.5, (link) => {
    link.lossRate = 0.2;
  }),
  linkTrouble('is slow', 2, (link) => {
    link.bytesPerSecond = 128 * 1024;
    link.latencyMs = 300;
  }),
  {
    name: 'heal',
    weight: 12,
    act: (scene) => {
      const what = pick(scene, [...scene.troubles.keys()]);
      if (what === null) return null;
      scene.troubles.get(what)?.();
      scene.troubles.delete(what);
      return `over: ${what}`;
    },
  },
  {
    name: 'fault',
    weight: 8,
    act: ({ site, random }) => {
      const kind = random.pick(FAULTS);
      const nth = 1 + random.below(40);
      site.world.faults.on('*', nth, kind);
      return `fault planned: ${kind} at call ${nth} from now`;
    },
  },
  {
    name: 'kill the controller',
    weight: 2,
    act: ({ site }) => {
      site.living.kill();
      return 'the controller is killed';
    },
  },
  {
    name: 'wall clock jumps',
    weight: 0.5,
    act: ({ site, random }) => {
      const minutes = random.pick([-60, -5, 5, 60]);
      site.world.clock.jumpWall(minutes * 60_000);
      return `the wall clock jumps by ${minutes} min`;
    },
  },
  {
    name: 'change marks removed',
    weight: 0.7,
    act: (scene) => {
      const placed = pick(scene, ownVms(scene));
      if (placed === null) return null;
      const { vm } = placed;
      for (const { key } of vm.state.disks) vm.image(key).marks.clear();
      vm.powerLosses += 1; // to the observers the same: not ours to keep any more
      return `somebody removes the change marks of ${vm.state.name}`;
    },
  },
  {
    name: 'save a VM',
    weight: 0.7,
    act: (scene) => {
      const running = ownVms(scene).filter(({ vm }) => vm.power === 'running');
      const placed = pick(scene, running);
      if (placed === null) return null;
      placed.vm.save();
      return `somebody saves ${placed.vm.state.name} to disk`;
    },
  },
  {
    name: 'guest falls sick',
    weight: 0.7,
    act: (scene) => {
      const running = ownVms(scene).filter(({ vm }) => vm.power === 'running');
      const placed = pick(scene, running);
      const slot = placed === null ? null : pick(scene, placed.vm.state.disks);
      if (placed === null || slot === null) return null;
      placed.vm.write(slot.key, 0, SICK);
      return `${placed.vm.state.name} falls sick`;
    },
  },
  {
    name: 'foreign job',
    weight: 0.7,
    act: (scene) => {
      const placed = pick(scene, ownVms(scene));
      const what = `another backup of ${placed?.vm.state.name}`;
      if (placed === null || scene.troubles.has(what)) return null;
      placed.vm.foreignJob = what;
      scene.troubles.set(what, () => {
        placed.vm.foreignJob = null;
      });
      return what;
    },
  },
  {
    name: 'disk grows',
    weight: 0.7,
    act: (scene) => {
      const placed = pick(scene, ownVms(scene));
      const slot = placed === null ? null : pick(scene, placed.vm.state.disks);
      if (placed === null || slot === null || placed.vm.freeze !== null) return null;
      const image = placed.vm.image(slot.key);
      const { sizeBytes } = image;
      const isGrowing = scene.random.chance(0.8);
      if (isGrowing && isShrunkSinceRun(image)) return null;
      const size = isGrowing ? sizeBytes + MIB : Math.max(MIB, sizeBytes - MIB);
      if (size > 8 * MIB) return null;
      if (!isGrowing) SHRUNK.set(image, [...image.marks.keys()]);
      resizeDisk(placed.vm, slot.key, size);
      return `disk ${slot.key} of ${placed.vm.state.name} becomes ${size / MIB} MiB`;
    },
  },
  {
    name: 'disk added or removed',
    weight: 0.5,
    act: (scene) => {
      const placed = pick(
        scene,
        ownVms(scene).filter(({ vm }) => vm.power === 'off' && vm.freeze === null),
      );
      if (placed === null) return null;
      const { vm, host } = placed;
      const vdc = diskKey('vdc');
      if (vm.state.disks.some(({ key }) => key === vdc)) {
        removeDisk(vm, vdc);
        return `disk vdc of ${vm.state.name} is removed`;
      }
      addDisk(scene.site.world, host, vm, { key: vdc, sizeBytes: MIB });
      return `disk vdc is added to ${vm.state.name}`;
    },
  },
  {
    name: 'layer touched',
    weight: 0.4,
    act: (scene) => {
      const host = scene.random.pick(hostsOf(scene));
      const folder = pick(scene, [...host.replicas.values()]);
      const layers = [...(folder?.layers.values() ?? [])].filter(({ isSealed }) => isSealed);
      const layer = pick(scene, layers);
      if (folder === null || layer === null) return null;
      const at = { replicaId: folder.id, layerId: layer.id };
      if (scene.random.chance(0.5)) {
        touchLayer(host, at);
        return `somebody touches a layer of ${folder.name}`;
      }
      if (freeBytes(layer.image.room) < BLOCK_BYTES) return null;
      tamperLayer(host, at, scene.random.below(blockCount(layer.image.sizeBytes)), 'damage');
      return `somebody writes into a layer of ${folder.name}`;
    },
  },
];

const HEALTHY = { isUp: true, lossRate: 0, latencyMs: 1, bytesPerSecond: 100_000_000 };

function linkTrouble(
  name: string,
  weight: number,
  begin: (link: ReturnType<Scene['site']['world']['link']>) => void,
): Move {
  return {
    name: `link ${name}`,
    weight,
    act: (scene) => {
      const [a, b] = [scene.random.pick(hostsOf(scene)), scene.random.pick(hostsOf(scene))];
      const what = `link between ${a.id} and ${b.id} ${name}`;
      if (a === b || scene.troubles.has(what)) return null;
      const link = scene.site.world.link(a.id, b.id);
      begin(link);
      scene.troubles.set(what, () => Object.assign(link, HEALTHY));
      return what;
    },
  };
}
