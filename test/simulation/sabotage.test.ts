/**
 * Proof that the observers can see: each case breaks one promise of a host or of the engine on purpose, plays the same
 * short life of a replica, and must be caught. Without sabotage that life passes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/domain/bytes.ts';
import { diskKey } from '../../src/domain/ids.ts';
import type { ControllerPorts } from '../../src/engine/control/controller-ports.ts';
import type { LifeSpec } from '../../src/main/simulation/life.ts';
import { BY_HAND, Site } from '../../src/main/simulation/site.ts';
import type { HostPorts } from '../../src/ports/host-directory.ts';
import { served } from '../../src/simulator/mover.ts';
import type { World } from '../../src/simulator/world.ts';

const VDA = diskKey('vda');
const IGNORED = { onEvent: () => {}, onChanges: () => {}, onDeath: () => {} };

/** What a broken host does with the ports of a sound one. The world is given for what no port would do. */
type Breaking = (sound: HostPorts, world: () => World) => HostPorts;

type Case = { readonly breaks: Breaking; readonly caughtAs: RegExp };

const CASES: Readonly<Record<string, Case>> = {
  'a store that writes through a new branch into the sealed layer': {
    breaks: (sound, world) => ({
      ...sound,
      store: {
        ...sound.store,
        createBranch: async (...asked) => {
          const made = await sound.store.createBranch(...asked);
          overwriteSealed(world(), 'written through');
          return made;
        },
      },
    }),
    caughtAs: /is not its instant|changed/,
  },
  'an undo whose branch is deleted instead of kept': {
    breaks: (sound) => ({
      ...sound,
      store: {
        ...sound.store,
        archiveBranch: ({ key, replicaId, epoch, branchId }, options) =>
          sound.store.deleteBranch({ key, replicaId, epoch, branchId }, options),
      },
    }),
    caughtAs: /the kept branch .* is not there/,
  },
  'a sweep that takes the mark that the newest point names': {
    breaks: (sound) => ({
      ...sound,
      pointSource: {
        ...sound.pointSource,
        sweepMarks: ({ vmId }, options) =>
          sound.pointSource.sweepMarks({ vmId, keep: [] }, options),
      },
    }),
    caughtAs: /was removed while the newest point names it/,
  },
  'a sweep of marks that sweeps nothing': {
    breaks: (sound) => ({
      ...sound,
      pointSource: { ...sound.pointSource, sweepMarks: async () => undefined },
    }),
    caughtAs: /has marks for nothing|has several marks/,
  },
  'a host that calls a VM off although nobody can see it': {
    breaks: (sound) => ({
      ...sound,
      hypervisor: {
        ...sound.hypervisor,
        vm: async (...asked) => ({
          ...(await sound.hypervisor.vm(...asked)),
          power: 'off' as const,
        }),
        power: async () => 'off' as const,
      },
    }),
    caughtAs: /is connected more than once/,
  },
  'a hypervisor that connects a replica that was to start in the dark': {
    breaks: (sound) => ({
      ...sound,
      hypervisor: {
        ...sound.hypervisor,
        defineReplica: (request, options) =>
          sound.hypervisor.defineReplica({ ...request, connectNics: true }, options),
      },
    }),
    caughtAs: /is connected more than once/,
  },
  'a hypervisor that says a VM is off and leaves it running': {
    breaks: (sound) => ({
      ...sound,
      hypervisor: {
        ...sound.hypervisor,
        powerOff: async () => undefined,
        defineReplica: async (request, options) => {
          try {
            return await sound.hypervisor.defineReplica(request, options);
          } catch (error) {
            if (request.vmId === null) throw error;
            return request.vmId;
          }
        },
      },
      store: { ...sound.store, archiveBranch: async () => undefined },
    }),
    caughtAs: /is Ready and its VM is running/,
  },
  'a freeze that is never ended': {
    breaks: (sound) => ({
      ...sound,
      pointSource: { ...sound.pointSource, end: async () => undefined },
    }),
    caughtAs: /left behind: freeze/,
  },
  'a mover that loses a block': {
    breaks: (sound) => sound,
    caughtAs: /is not its instant/,
  },
  'a resting replica that points at disks that exist': {
    breaks: (sound, world) => ({
      ...sound,
      store: {
        ...sound.store,
        restingDisks: (id, disks) => {
          const resting = sound.store.restingDisks(id, disks);
          const [host] = [...world().hosts.values()];
          const [vm] = [...(host?.vms.values() ?? [])];
          const path = vm?.state.disks[0]?.path ?? '';
          return resting.map((disk) => ({ ...disk, path }));
        },
      },
    }),
    caughtAs: /at rest could be started/,
  },
  'a retention that takes the newest point': {
    breaks: (sound) => ({
      ...sound,
      store: {
        ...sound.store,
        retirePoint: async (command, options) => {
          const newest = (await sound.store.points(command.replicaId, options)).at(-1);
          const pointId = newest?.id ?? command.pointId;
          await sound.store.retirePoint({ ...command, pointId }, options);
        },
      },
    }),
    caughtAs: /newest restore point .* is gone|only in the catalogue/,
  },
  'a host that hears of an epoch that is not recorded': {
    breaks: (sound) => ({
      ...sound,
      store: {
        ...sound.store,
        createBranch: (command, options) =>
          sound.store.createBranch({ ...command, epoch: command.epoch + 5 }, options),
      },
    }),
    caughtAs: /knows epoch/,
  },
};

function overwriteSealed(world: World, token: string): void {
  for (const host of world.hosts.values()) {
    for (const folder of host.replicas.values()) {
      for (const layer of folder.layers.values()) layer.image.blocks.set(1, token);
    }
  }
}

/** The mover writes a block too few: the last of each transfer. */
function losingBlocks(ports: ControllerPorts, world: () => World): ControllerPorts {
  const { mover } = ports;
  return {
    ...ports,
    mover: {
      ...mover,
      transfer: async (request, options) => {
        const moved = await mover.transfer(request, options);
        const target = served(request.target);
        if (target.address.type === 'unix') world().endpoints.view(target).write?.(2, 0);
        return moved;
      },
    },
  };
}

/** Protect, run, fail over to the older point, write, undo, run again; with the observers after every wish. */
async function live(sabotage: LifeSpec['sabotage'], siteOf: (site: Site) => void) {
  const spec = { seed: 1, hosts: ['production', 'recovery'], hasScheduler: false } as const;
  const common = { ...spec, observer: IGNORED };
  await using site = await Site.open(sabotage === undefined ? common : { ...common, sabotage });
  siteOf(site);
  const { world } = site;
  const vm = world.addVm(world.host('production' as never), {
    name: 'web',
    disks: [{ key: VDA, sizeBytes: 4 * MIB }],
  });
  vm.start();
  for (let block = 0; block < 6; block += 1) vm.write(VDA, block, `boot-${block}`);
  await site.run(site.living.controller.createJob(JOB, BY_HAND));
  const seen: string[] = [];
  const wish = async (begin: Parameters<Site['ask']>[0]) => {
    const answer = await site.ask(begin);
    if (answer.type === 'begun') await site.settle(answer.operations.map(({ id }) => id));
    seen.push(...(await site.violations('everyStep')));
  };
  const run = () => wish((controller) => controller.runJob('nightly', null, BY_HAND));
  for (const value of ['one', 'two', 'three']) {
    vm.write(VDA, 1, value);
    await run();
  }
  const order = { reason: 'a test', fence: 'none', acceptDuplicate: false } as const;
  await wish((controller) =>
    controller.failover('web-replica', { ...order, point: { type: 'latest' } }, BY_HAND),
  );
  await wish((controller) => controller.undoFailover('web-replica', { force: false }, BY_HAND));
  await run();
  return [...seen, ...(await site.violations('whenIdle'))];
}

const JOB = {
  name: 'nightly',
  sourceHost: 'production',
  targetHost: 'recovery',
  vms: ['web'],
  rpoSeconds: 900,
  isScheduled: false,
  retention: { keepLast: 2, tiers: [] },
  quiesce: 'never',
  replicaSuffix: '-replica',
  networkMap: {},
  bytesPerSecondMax: null,
  archiveSeconds: 3600,
  testing: null,
  scratch: { quotaBytes: null, reserveBytes: MIB, deadlineMs: 3600_000 },
} as const;

test('without sabotage nothing is seen', async () => {
  assert.deepEqual(await live(undefined, () => {}), []);
});

for (const [name, { breaks, caughtAs }] of Object.entries(CASES)) {
  test(`caught: ${name}`, async () => {
    let site: Site | null = null;
    const world = () => {
      assert.ok(site !== null);
      return site.world;
    };
    const sabotage = (ports: ControllerPorts): ControllerPorts => {
      if (name === 'a mover that loses a block') return losingBlocks(ports, world);
      const broken = async (id: never) => breaks(await ports.hosts.commands(id), world);
      return { ...ports, hosts: { ports: broken, commands: broken } };
    };
    const seen = await live(sabotage, (made) => {
      site = made;
    });
    assert.ok(
      seen.some((text) => caughtAs.test(text)),
      `seen: ${seen.join('; ') || 'nothing'}`,
    );
  });
}
