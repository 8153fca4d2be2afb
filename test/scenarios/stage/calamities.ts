/** Lines that change the world without asking Understudy: what guests, storms, hardware and other people do. */
import { diskKey } from '../../../src/domain/ids.ts';
import {
  addDisk,
  changeMemory,
  losePower,
  removeDisk,
  removeLayer,
  replug,
  resizeDisk,
  rotLayer,
  tamperLayer,
  touchLayer,
} from '../../../src/simulator/calamities.ts';
import type { FaultKind } from '../../../src/simulator/faults.ts';
import type { SimulatedHost } from '../../../src/simulator/host.ts';
import { layerOf } from './layers.ts';
import { makeVm } from './make-vm.ts';
import type { Command } from './play.ts';
import { byteCount, durationMs, hostNamed, vmNamed } from './words.ts';

const VM = '(?<vm>\\S+(?: on \\S+)?)';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

export const CALAMITIES: readonly Command[] = [
  line('vm (?<name>\\S+) on (?<host>\\S+?)(?:: (?<wishes>.+))?', ({ site }, words) => {
    makeVm(site.world, words);
  }),
  line('wait (?<time>.+)', async ({ site }, { time }) => {
    await site.world.clock.advance(durationMs(time));
  }),
  line(
    'write (?<vm>\\S+) (?<disk>\\S+) (?<from>\\d+)(?:-(?<to>\\d+))? (?<text>.+)',
    ({ site }, words) => {
      const { vm } = vmNamed(site.world, words.vm);
      const [from, to] = [Number(words.from), Number(words.to ?? words.from)];
      for (let index = from; index <= to; index += 1) {
        vm.write(diskKey(words.disk ?? ''), index, `${words.text} ${index}`);
      }
    },
  ),

  line(`start ${VM}`, ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    vm.start();
  }),
  line(`try to start ${VM}`, ({ site, chronicle }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    try {
      vm.start();
    } catch (error) {
      chronicle.say(`it does not start: ${error instanceof Error ? error.message : error}`);
    }
  }),
  line(`shut down ${VM}`, ({ site }, words) => vmNamed(site.world, words.vm).vm.stop()),
  line(`kill ${VM}`, ({ site }, words) => vmNamed(site.world, words.vm).vm.losePower()),
  line(`save ${VM}`, ({ site }, words) => vmNamed(site.world, words.vm).vm.save()),
  line('delete (?<vm>\\S+) from its host', ({ site }, words) => {
    const { vm, host } = vmNamed(site.world, words.vm);
    vm.stop();
    host.vms.delete(vm.id);
  }),
  line(`accept the duplicate of ${VM}`, ({ site }, words) => {
    site.acceptedDuplicates.add(vmNamed(site.world, words.vm).vm.state.identity);
  }),
  line(`resume ${VM}`, ({ site }, words) => vmNamed(site.world, words.vm).vm.resume()),
  line(`guest of ${VM} ignores shutdown`, ({ site }, words) => {
    vmNamed(site.world, words.vm).vm.state.guest.shutdownMs = null;
  }),
  line(`foreign job on ${VM}: (?<what>.+)`, ({ site }, words) => {
    vmNamed(site.world, words.vm).vm.foreignJob = words.what ?? null;
  }),
  line(`foreign job on ${VM} ends`, ({ site }, words) => {
    vmNamed(site.world, words.vm).vm.foreignJob = null;
  }),
  line(`somebody removes the change marks of ${VM}`, ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    for (const { key } of vm.state.disks) vm.image(key).marks.clear();
    vm.powerLosses += 1; // for the observers: as lost as by a power loss
  }),

  line('power loss at (?<host>\\S+)', ({ site }, { host }) => {
    losePower(site.world, hostNamed(site.world, host));
  }),
  line('(?<host>\\S+) stops answering', ({ site }, { host }) => {
    hostNamed(site.world, host).isUnreachable = true;
  }),
  line('(?<host>\\S+) answers again', ({ site }, { host }) => {
    hostNamed(site.world, host).isUnreachable = false;
  }),
  line('storage of (?<host>\\S+) (?<how>stalls|goes on)', ({ site }, { host, how }) => {
    hostNamed(site.world, host).isStorageStalled = how === 'stalls';
  }),
  line(
    '(?<room>storage|pool|scratch) of (?<host>\\S+) has (?<bytes>.+) left',
    ({ site }, { host, room, bytes }) => {
      const it = roomOf(hostNamed(site.world, host), room);
      it.capacityBytes = it.usedBytes + byteCount(bytes);
    },
  ),
  line(
    'link between (?<a>\\S+) and (?<b>\\S+) (?<how>is cut|is back)',
    ({ site }, { a, b, how }) => {
      site.world.link(hostNamed(site.world, a).id, hostNamed(site.world, b).id).isUp =
        how === 'is back';
    },
  ),
  line(
    'link between (?<a>\\S+) and (?<b>\\S+) (?:loses (?<percent>\\d+) %|carries (?<bytes>.+) a second|takes (?<time>.+))',
    ({ site }, { a, b, percent, bytes, time }) => {
      const link = site.world.link(hostNamed(site.world, a).id, hostNamed(site.world, b).id);
      if (percent !== undefined) link.lossRate = Number(percent) / 100;
      if (bytes !== undefined) link.bytesPerSecond = byteCount(bytes);
      if (time !== undefined) link.latencyMs = durationMs(time);
    },
  ),
  line('the wall clock jumps (?<way>ahead|back) by (?<time>.+)', ({ site }, { way, time }) => {
    site.world.clock.jumpWall(durationMs(time) * (way === 'back' ? -1 : 1));
  }),
  line(
    'the clock of (?<host>\\S+) is (?<time>.+) (?<way>ahead|behind)',
    ({ site }, { host, time, way }) => {
      hostNamed(site.world, host).clockOffsetMs = durationMs(time) * (way === 'behind' ? -1 : 1);
    },
  ),

  line('disk (?<disk>\\S+) of (?<vm>\\S+) becomes (?<size>.+)', ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    resizeDisk(vm, diskKey(words.disk ?? ''), byteCount(words.size));
  }),
  line('disk (?<disk>\\S+) of (?<size>[\\d.]+ \\w+) is added to (?<vm>\\S+)', ({ site }, words) => {
    const { vm, host } = vmNamed(site.world, words.vm);
    const spec = { key: diskKey(words.disk ?? ''), sizeBytes: byteCount(words.size) };
    addDisk(site.world, host, vm, spec);
  }),
  line('disk (?<disk>\\S+) is removed from (?<vm>\\S+)', ({ site }, words) => {
    removeDisk(vmNamed(site.world, words.vm).vm, diskKey(words.disk ?? ''));
  }),

  line('memory of (?<vm>\\S+ on \\S+|\\S+) becomes (?<size>.+)', ({ site }, words) => {
    changeMemory(vmNamed(site.world, words.vm).vm, byteCount(words.size));
  }),
  line('(?<host>\\S+) has (?<size>[\\d.]+ \\w+) of memory', ({ site }, { host, size }) => {
    hostNamed(site.world, host).memoryBytes = byteCount(size);
  }),
  line('(?<vm>\\S+) is plugged into (?<network>\\S+)', ({ site }, { vm, network }) => {
    replug(vmNamed(site.world, vm).vm, network ?? '');
  }),

  line(
    'somebody (?<how>writes into|touches|removes) the layer of (?<disk>\\S+) in (?<point>P\\d+)',
    async (play, { how, disk, point }) => {
      const at = await layerOf(play, point ?? '', disk ?? '');
      if (how === 'writes into') tamperLayer(at.host, at, 0, 'tampered');
      if (how === 'touches') touchLayer(at.host, at);
      if (how === 'removes') removeLayer(play.site.world, at.host, at);
    },
  ),
  line('the layer of (?<disk>\\S+) in (?<point>P\\d+) rots', async (play, { disk, point }) => {
    const at = await layerOf(play, point ?? '', disk ?? '');
    rotLayer(at.host, at, 0, 'rotten');
  }),
  line(
    'fault at (?<operation>\\S+)(?: number (?<nth>\\d+)| (?<times>\\d+) times)?: (?<kind>[\\w-]+)(?: by (?<time>.+))?',
    ({ site }, { operation, nth, times, kind, time }) => {
      const options = time === undefined ? {} : { delayMs: durationMs(time) };
      const first = Number(nth ?? 1);
      for (let count = 0; count < Number(times ?? 1); count += 1) {
        site.world.faults.on(operation ?? '', first + count, kind as FaultKind, options);
      }
    },
  ),
  line('faults are over', ({ site }) => site.world.faults.clear()),
];

function roomOf(host: SimulatedHost, room: string | undefined) {
  return room === 'storage' ? host.storage : room === 'pool' ? host.pool : host.scratch;
}
