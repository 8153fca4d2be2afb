/** Every operation on the one replica of a VM, with what must be there before it: what the crash matrix goes through. */
import assert from 'node:assert/strict';
import { MIB } from '../../../src/domain/bytes.ts';
import { instant } from '../../../src/domain/instant.ts';
import { parseProbe } from '../../../src/domain/test-failover/probe.ts';
import { startCatchUp } from '../../../src/engine/control/failbacks.ts';
import { changeMemory, losePower, touchLayer } from '../../../src/simulator/calamities.ts';
import { createImage, writeBlock } from '../../../src/simulator/image.ts';
import { reloadHost } from '../../../src/simulator/start-guard.ts';
import { SICK } from '../../../src/simulator/test-bench.ts';
import { undoing } from '../failback-stage.ts';
import { failoverOrder, options, type Stage, VDA, VDB } from '../stage.ts';
import {
  commit,
  failback,
  failedBack,
  failedOver,
  HOME,
  NEW_HOME,
  plannedFailover,
  protectedTwice,
  readyToSwitch,
  type Story,
  switchOver,
  undoFailback,
} from './situations.ts';

const PROBES = [parseProbe('http:80@5s')];

const run = (stage: Stage) => stage.replicate();

/** The storage is below its reserve, and holds points that retention does not want any more. */
async function outOfRoom(stage: Stage): Promise<void> {
  const tiers = [{ everySeconds: 60, forSeconds: 3600 }];
  await stage.protect({ retention: { keepLast: 1, tiers } });
  for (const value of ['one', 'two', 'three']) {
    for (let block = 0; block < 16; block += 1) stage.vm.write(VDB, block, `${value} ${block}`);
    await stage.replicate();
    await stage.world.clock.advance(120_000);
  }
  await stage.world.clock.advance(2 * 3600_000);
  const { storage } = stage.recovery;
  storage.capacityBytes = storage.usedBytes + 64 * 1024;
  stage.vm.write(VDB, 1, 'four');
}

const COPY = { ...HOME, to: { type: 'copy', host: null, vm: 'restored' } } as const;
const DISKS = [
  { key: VDA, sizeBytes: 8 * MIB },
  { key: VDB, sizeBytes: 16 * MIB },
];

async function installGuard(stage: Stage): Promise<void> {
  await stage.run(stage.life.controller.installGuard('production', null, options));
  reloadHost(stage.production);
}

async function undone(stage: Stage): Promise<void> {
  await failedOver(stage);
  await stage.undo();
}

export const STORIES: Readonly<Record<string, Story>> = {
  'first replication': { prepare: (stage) => stage.protect(), act: run },
  'seeded first replication': {
    prepare: (stage) => {
      const { pool } = stage.recovery;
      const path = `${pool.path}/seed.qcow2`;
      const shape = { path, format: 'qcow2', sizeBytes: 8 * MIB, backing: null } as const;
      const image = createImage({ ...shape, room: pool });
      for (let block = 5; block < 25; block += 1) writeBlock(image, block, `boot-${block}`);
      stage.world.files.set(path, { type: 'disk', image });
      const from = { type: 'files', files: [{ disk: 'vda', path }] } as const;
      return stage.protect({ seeds: [{ vm: 'web', from }] });
    },
    act: run,
  },
  'incremental with retention': { prepare: protectedTwice, act: run },
  'replication that has to make room first': { prepare: outOfRoom, act: run },
  'resync after power loss': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      losePower(stage.world, stage.production);
      stage.vm.start();
    },
    act: run,
  },
  'replication of a source that outgrew its target': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      stage.recovery.memoryBytes = 1024 * MIB;
      changeMemory(stage.vm, 2048 * MIB);
    },
    act: run,
  },
  failover: {
    prepare: protectedTwice,
    act: (stage) =>
      stage.finish((controller) =>
        controller.failover('web-replica', failoverOrder('latest', 'power-off'), options),
      ),
  },
  'planned failover': { prepare: protectedTwice, act: plannedFailover },
  'undo failover': { prepare: failedOver, act: (stage) => stage.undo() },
  'forced undo': {
    prepare: failedOver,
    act: (stage) => {
      stage.recovery.isUnreachable = true;
      return stage.undo(true);
    },
    heal: ({ recovery }) => {
      recovery.isUnreachable = false;
    },
  },
  'clean-up after a forced undo': {
    prepare: async (stage) => {
      await failedOver(stage);
      stage.recovery.isUnreachable = true;
      await stage.undo(true);
      stage.recovery.isUnreachable = false;
    },
    act: run,
  },
  failback: { prepare: failedOver, act: (stage) => failback(stage) },
  'failback to a new VM': {
    prepare: failedOver,
    act: (stage) => failback(stage, NEW_HOME),
  },
  'switchover to a new VM': {
    prepare: async (stage) => {
      await failedOver(stage);
      await failback(stage, NEW_HOME);
    },
    act: switchOver,
  },
  'failback to a restored copy': {
    prepare: async (stage) => {
      await failedOver(stage);
      stage.world.addVm(stage.production, { name: 'restored', disks: DISKS });
    },
    act: (stage) => failback(stage, COPY),
  },
  'another pass of a failback': {
    prepare: readyToSwitch,
    act: (stage) =>
      stage.finish(async () => startCatchUp(stage.life.ports, await stage.replica(), options)),
  },
  switchover: { prepare: readyToSwitch, act: switchOver },
  'cancel failback': {
    prepare: readyToSwitch,
    act: (stage) => stage.finish((controller) => controller.cancelFailback('web-replica', options)),
  },
  'commit failback': {
    prepare: failedBack,
    act: commit,
    afterwards: async (stage) => {
      await commit(stage).catch(() => null);
      return run(stage); // protection goes on: what could not be retired goes then
    },
  },
  'undo failback': { prepare: failedBack, act: undoFailback },
  'forced undo of a failback': {
    prepare: failedBack,
    act: (stage) => {
      stage.production.isUnreachable = true;
      return stage.finish((it) => it.undoFailback('web-replica', undoing(true), options));
    },
    heal: ({ production }) => {
      production.isUnreachable = false;
    },
  },
  'clean-up by itself when the host is back': {
    prepare: async (stage) => {
      await failedOver(stage);
      stage.recovery.isUnreachable = true;
      await stage.undo(true);
      stage.recovery.isUnreachable = false;
    },
    act: async (stage) => {
      await stage.sweep();
      const [swept] = await stage.life.ports.durable.operations({ kind: 'sweep', limit: 1 });
      assert.ok(swept);
      return swept;
    },
  },
  'permanent failover': {
    prepare: failedOver,
    act: (stage) =>
      stage.finish((controller) => controller.permanentFailover('web-replica', options)),
  },
  'fence afterwards': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      await stage.failover('latest', 'none');
    },
    act: (stage) =>
      stage.finish((controller) => controller.fenceSource('web-replica', 'power-off', options)),
  },
  unfence: {
    prepare: async (stage) => {
      await protectedTwice(stage);
      await stage.failover('latest', 'none');
      await stage.finish((controller) => controller.fenceSource('web-replica', 'nics', options));
    },
    act: (stage) =>
      stage.finish((controller) => controller.unfenceSource('web-replica', false, options)),
  },
  'delete replica': {
    prepare: protectedTwice,
    act: (stage) => stage.finish((controller) => controller.deleteReplica('web-replica', options)),
  },
  'remove replica': {
    prepare: protectedTwice,
    act: (stage) => stage.finish((controller) => controller.removeReplica('web-replica', options)),
  },
  'rescan with repair': {
    prepare: protectedTwice,
    act: (stage) => stage.finish((controller) => controller.rescan('web-replica', true, options)),
  },
  'rescan that repairs a touched layer': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      const replica = await stage.replica();
      const [oldest] = await stage.life.ports.catalog.points(replica.id);
      const layerId = oldest?.disks[0]?.layerId;
      assert.ok(layerId);
      touchLayer(stage.recovery, { replicaId: replica.id, layerId });
    },
    act: (stage) => stage.finish((controller) => controller.rescan('web-replica', true, options)),
  },
  'failover whose source is held at its host': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      await installGuard(stage);
    },
    act: (stage) => stage.failover('latest', 'power-off'),
  },
  'undo that lets a held source go': {
    prepare: async (stage) => {
      await protectedTwice(stage);
      await installGuard(stage);
      await stage.failover('latest', 'power-off');
    },
    act: (stage) => stage.undo(),
  },
  hop: {
    prepare: failedOver,
    act: (stage) =>
      stage.finish(async (controller) => {
        const [oldest] = await controller.points('web-replica', options);
        return controller.hop('web-replica', failoverOrder(oldest?.id ?? ''), options);
      }),
  },
  'failover to an archive': {
    prepare: undone,
    act: (stage) =>
      stage.finish(async (controller) => {
        const [archive] = await controller.archives('web-replica', options);
        const order = {
          ...failoverOrder('latest', 'power-off'),
          archive: archive?.archive.branchId,
        };
        return controller.failover(
          'web-replica',
          { ...order, archive: order.archive ?? null },
          options,
        );
      }),
  },
  'keep an archive': {
    prepare: undone,
    act: (stage) =>
      stage.finish(async (controller) => {
        const [archive] = await controller.archives('web-replica', options);
        const until = instant(stage.world.clock.now() + 30 * 24 * 3600 * 1000);
        const branch = archive?.archive.branchId ?? '';
        return controller.keepArchive('web-replica', branch, until, options);
      }),
  },
  'delete an archive': {
    prepare: undone,
    act: (stage) =>
      stage.finish(async (controller) => {
        const [archive] = await controller.archives('web-replica', options);
        return controller.deleteArchive('web-replica', archive?.archive.branchId ?? '', options);
      }),
  },
  'change of a job': {
    prepare: protectedTwice,
    act: (stage) =>
      stage.finish(async ({ changeJob, operation }) => {
        const change = { rpoSeconds: 300, networks: { 'network:default': null } };
        const changed = await changeJob('nightly', change, options);
        if (changed.type === 'blocked') throw new Error(JSON.stringify(changed.findings));
        return operation(changed.operationId ?? '', options);
      }),
  },
  export: {
    prepare: protectedTwice,
    act: (stage) =>
      stage.finish((controller) =>
        controller.exportPoint('web-replica', { type: 'latest' }, options),
      ),
  },
  verify: {
    prepare: protectedTwice,
    act: (stage) => stage.finish((controller) => controller.verify('web-replica', null, options)),
  },
  'test failover': {
    prepare: protectedTwice,
    act: (stage) =>
      stage.finish(async (controller) => {
        const order = { points: [{ type: 'latest' }], probes: PROBES, holdSeconds: 5 } as const;
        const [operation] = await controller.testFailover('web-replica', order, options);
        if (operation === undefined) throw new Error('no test was started');
        return operation;
      }),
  },
  bisect: {
    prepare: async (stage) => {
      await protectedTwice(stage);
      stage.vm.write(VDA, 2, SICK);
      await stage.replicate();
    },
    act: (stage) => stage.finish((controller) => controller.bisect('web-replica', PROBES, options)),
  },
};
