/** First runs that are compared with what is at the target already: files, a VM, another replica. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES, MIB } from '../../src/domain/bytes.ts';
import { contentOf, createImage, type Image, writeBlock } from '../../src/simulator/image.ts';
import type { SimulatedVm } from '../../src/simulator/vm.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

const PATH = '/recovery/pool/seed.qcow2';

/** What `Stage.open` wrote to vda, but for two blocks; and one that the source has not. */
function bringFile(stage: Stage, sizeBytes = 8 * MIB): Image {
  const room = stage.recovery.pool;
  const image = createImage({ path: PATH, format: 'qcow2', sizeBytes, backing: null, room });
  stage.world.files.set(PATH, { type: 'disk', image });
  for (let block = 2; block < 20; block += 1) writeBlock(image, block, `boot-${block}`);
  writeBlock(image, 30, 'only in the seed');
  return image;
}

const FROM_FILE = {
  vm: 'web',
  from: { type: 'files', files: [{ disk: 'vda', path: PATH }] },
} as const;

/** Another VM with the same content but for one block. */
function twin(stage: Stage, where: 'production' | 'recovery'): SimulatedVm {
  const host = where === 'production' ? stage.production : stage.recovery;
  const disks = [{ key: VDA, sizeBytes: 9 * MIB }];
  const vm = stage.world.addVm(host, { name: 'twin', disks });
  vm.start();
  vm.write(VDA, 140, 'behind the end of the other');
  for (let block = 1; block < 20; block += 1) vm.write(VDA, block, `boot-${block}`);
  vm.stop();
  return vm;
}

async function newest(stage: Stage) {
  const point = (await stage.life.ports.catalog.points((await stage.replica()).id)).at(-1);
  assert.ok(point);
  return new Map(point.disks.map((disk) => [disk.key, disk]));
}

async function assertSound(stage: Stage): Promise<void> {
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

test('of a seeded disk only what differs crosses; the point is exact, and the seed as it was', async () => {
  await using stage = await Stage.open();
  const seed = bringFile(stage);
  const before = contentOf(seed);
  await stage.protect({ seeds: [FROM_FILE] });
  assert.equal((await stage.replicate()).state, 'succeeded');
  const disks = await newest(stage);
  const vda = disks.get(VDA);
  assert.equal(vda?.transfer, 'resync');
  assert.equal(vda?.because, `it was seeded from ${PATH}`);
  assert.equal(vda?.sentBytes, 2 * BLOCK_BYTES);
  assert.equal(disks.get(VDB)?.transfer, 'full');
  assert.deepEqual(contentOf(seed), before);
  await assertSound(stage);
  assert.equal((await stage.replica()).seed, null);
  stage.vm.write(VDA, 4, 'later');
  await stage.replicate();
  assert.equal((await newest(stage)).get(VDA)?.transfer, 'incremental');
  await assertSound(stage);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  await assertSound(stage);
});

test('a seed may be smaller or larger than the disk', async () => {
  for (const sizeBytes of [MIB, 32 * MIB]) {
    await using stage = await Stage.open();
    const seed = bringFile(stage, Math.max(sizeBytes, 8 * MIB));
    seed.sizeBytes = sizeBytes;
    for (const block of seed.blocks.keys()) {
      if (block * BLOCK_BYTES >= sizeBytes) seed.blocks.delete(block);
    }
    if (sizeBytes > 8 * MIB) writeBlock(seed, 300, 'behind the end');
    await stage.protect({ seeds: [FROM_FILE] });
    assert.equal((await stage.replicate()).state, 'succeeded');
    const sent = (await newest(stage)).get(VDA)?.sentBytes ?? 0;
    assert.equal(sent, (sizeBytes === MIB ? 2 + 4 : 2) * BLOCK_BYTES);
    await assertSound(stage);
  }
});

test('a VM at the target seeds while it is off, and not while it runs', async () => {
  await using stage = await Stage.open();
  const vm = twin(stage, 'recovery');
  vm.start();
  const seeds = [{ vm: 'web', from: { type: 'vm', vm: 'twin' } }] as const;
  await assert.rejects(stage.protect({ seeds }), { code: 'seed-unfit' });
  vm.stop();
  await stage.protect({ seeds });
  assert.equal((await stage.replicate()).state, 'succeeded');
  const vda = (await newest(stage)).get(VDA);
  assert.equal(vda?.because, 'it was seeded from VM twin of the target host');
  assert.equal(vda?.sentBytes, BLOCK_BYTES);
  await assertSound(stage);
});

test('another replica seeds with its newest point, and stays as it is', async () => {
  await using stage = await Stage.open();
  twin(stage, 'production');
  await stage.protect({ name: 'other', vms: ['twin'] });
  const other = await stage.replica();
  await stage.finish(async (controller) => {
    const [run] = await controller.runJob('other', null, options);
    assert.ok(run);
    return run;
  });
  const seeds = [{ vm: 'web', from: { type: 'replica', replica: 'twin-replica' } }] as const;
  await stage.protect({ seeds });
  assert.equal((await stage.replicate()).state, 'succeeded');
  const replicas = await stage.life.ports.catalog.replicas();
  const web = replicas.find(({ value }) => value.name === 'web-replica')?.value;
  assert.ok(web);
  const [point] = await stage.life.ports.catalog.points(web.id);
  const vda = point?.disks.find(({ key }) => key === VDA);
  assert.equal(vda?.because, 'it was seeded from replica twin-replica');
  assert.equal(vda?.sentBytes, BLOCK_BYTES);
  assert.equal((await stage.life.ports.catalog.points(other.id)).length, 1);
  await assertSound(stage);
});

test('a seed that is gone fails the run with what to do, and another one or none can be named', async () => {
  await using stage = await Stage.open();
  bringFile(stage);
  await stage.protect({ seeds: [FROM_FILE] });
  stage.world.files.delete(PATH);
  const failed = await stage.replicate();
  assert.equal(failed.state, 'failed');
  assert.equal(failed.error?.code, 'seed-unfit');
  await assertSound(stage);
  const { controller } = stage.life;
  const missing = stage.run(controller.seedReplica('web-replica', FROM_FILE.from, options));
  await assert.rejects(missing, { code: 'seed-unfit' });
  bringFile(stage);
  const view = await stage.run(controller.seedReplica('web-replica', FROM_FILE.from, options));
  assert.equal(view.replica.seed?.type, 'files');
  await stage.run(controller.seedReplica('web-replica', null, options));
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.equal((await newest(stage)).get(VDA)?.transfer, 'full');
  const late = stage.run(controller.seedReplica('web-replica', FROM_FILE.from, options));
  await assert.rejects(late, { code: 'invalid-request' });
});

test('seeds that cannot be meant are refused when the job is made, and nothing is made', async () => {
  await using stage = await Stage.open();
  bringFile(stage);
  const file = (disk: string, path = PATH) => ({ disk, path });
  const files = (...list: readonly ReturnType<typeof file>[]) =>
    ({ type: 'files', files: list }) as const;
  for (const from of [
    files(file('vdz')),
    files(file('vda'), file('vda')),
    files(file('vda'), file('vdz')),
    files(file('vda', '/production/pool/seed.qcow2')),
    { type: 'replica', replica: 'none' },
    { type: 'vm', vm: 'none' },
  ] as const) {
    await assert.rejects(stage.protect({ seeds: [{ vm: 'web', from }] }));
  }
  await assert.rejects(stage.protect({ seeds: [{ ...FROM_FILE, vm: 'db' }] }));
  const nobody = { vm: 'web', from: { type: 'vm', vm: 'none' } } as const;
  await assert.rejects(stage.protect({ seeds: [nobody] }), /no VM none on host recovery\./);
  assert.deepEqual(await stage.life.ports.catalog.jobs(), []);
  assert.deepEqual(await stage.life.ports.catalog.replicas(), []);
});

test('a disk that changes its size after the seed was copied has its next run seed it anew', async () => {
  await using stage = await Stage.open();
  bringFile(stage);
  await stage.protect({ seeds: [FROM_FILE] });
  stage.world.faults.on('recovery.store.settlePartial', 1, 'slow');
  const running = stage.replicate();
  await stage.until(() => stage.world.faults.happened.length > 0);
  stage.vm.image(VDA).sizeBytes += MIB;
  const { state } = await running;
  if (state !== 'succeeded') assert.equal((await stage.replicate()).state, 'succeeded');
  await assertSound(stage);
});

test('a target that goes away while the seed is read serves it to nobody once it is back', async () => {
  await using stage = await Stage.open();
  bringFile(stage);
  await stage.protect({ seeds: [FROM_FILE] });
  stage.world.faults.on('recovery.mover.transfer', 1, 'away-before');
  assert.equal((await stage.replicate()).state, 'failed');
  await stage.world.clock.advance(10 * 60_000);
  await assertSound(stage);
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.equal((await newest(stage)).get(VDA)?.transfer, 'resync');
});
