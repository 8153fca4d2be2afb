/**
 * UEFI variables and the state of an emulated TPM go where the disks go: each restore point has its own, a failover starts
 * with those of its point, and a failback brings home what the replica had. QEMU really runs with OVMF and swtpm; what a
 * guest would change is written into their files while they are off.
 *
 * The private hosts keep TPM state in folders of their own, the program looks where a system daemon has it: a link per VM
 * leads from there to here. For that both VMs need a UUID of their own, so the source's is taken at the target beforehand.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { operationDetailSchema, operationSchema } from '../../src/contract/operation.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import { run } from '../../src/rig/command.ts';
import type { PrivateHost } from '../../src/rig/private-host.ts';
import { until } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { failOverBlockVm, succeed } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const TEMPLATE = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const SWTPM = '/var/lib/libvirt/swtpm';

function reason(): string | false {
  const general = skipReason();
  if (general !== false) return general;
  const needed = [CODE, TEMPLATE, '/usr/bin/swtpm', '/usr/bin/swtpm_setup'];
  return needed.every((path) => existsSync(path))
    ? false
    : 'needs the packages ovmf swtpm swtpm-tools: UEFI and TPM guests are NOT proved here';
}

suite('firmware and TPM state', { skip: reason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let replicaVmId: string;
  const links: string[] = [];
  const points: PointAnswer[] = [];

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'sealed', disks: [{ sizeBytes: 16 * MIB }] });
    await addFirmware();
    await linkTpm(stage.production, vm.uuid);
    const taken = '<domain type="qemu"><name>taken</name><memory>16384</memory>';
    const file = join(stage.folder, 'taken.xml');
    await writeFile(file, `${taken}<uuid>${vm.uuid}</uuid><os><type>hvm</type></os></domain>`);
    await stage.recovery.virsh(['define', file]);
    await vm.start();
    protection = await stage.protect(vm.name);
    points.push(await stage.replicate(protection));
    const { targetVmId } = await stage.replica(protection);
    assert.ok(targetVmId !== null && targetVmId !== vm.uuid);
    replicaVmId = targetVmId;
    await linkTpm(stage.recovery, replicaVmId);
    // A folder cannot be made through a link that leads nowhere.
    const folder = join(stage.recovery.folder, 'lib', 'swtpm', replicaVmId);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await vm.destroy();
  });
  after(async () => {
    for (const link of links) await rm(link, { force: true });
    await stage?.[Symbol.asyncDispose]();
  });

  const production = (): Machine => ({ host: stage.production, uuid: vm.uuid });
  const replica = (): Machine => ({ host: stage.recovery, uuid: replicaVmId });
  const id = async () => (await stage.replica(protection)).id;

  test('a running VM with both is replicated, and each point has its own state', async () => {
    const [first] = points;
    assert.ok(first);
    assert.equal((await stateOfPoint(first)).names.length, 2);
    for (const text of ['older', 'newer']) {
      await mark(production(), text);
      const point = await stage.replicate(protection);
      points.push(point);
      assert.deepEqual((await stateOfPoint(point)).marks, [text, text]);
    }
  });

  test('a failover starts with the state of its point; an undo leaves the points theirs', async () => {
    const [, older, newest] = points;
    assert.ok(older && newest);
    await failOverBlockVm(stage, protection, '--point', older.id);
    await requireRunningWith('older');
    await stage.recovery.virsh(['destroy', '--domain', replicaVmId]);
    await mark(replica(), 'trial');
    await succeed(stage, 'undo-failover', await id());
    assert.deepEqual((await stateOfPoint(older)).marks, ['older', 'older']);
    assert.deepEqual((await stateOfPoint(newest)).marks, ['newer', 'newer']);
    await failOverBlockVm(stage, protection);
    await requireRunningWith('newer');
  });

  test('a failback brings home what the replica had; undone, production has its own again', async () => {
    await stage.recovery.virsh(['destroy', '--domain', replicaVmId]);
    await mark(replica(), 'served');
    await stage.recovery.virsh(['start', '--domain', replicaVmId]);
    await goHome();
    assert.equal(await vm.state(), 'running');
    assert.deepEqual(await marksOf(production()), ['served', 'served']);
    // Else its shutdown is waited for, which a guest without an operating system ignores.
    await vm.destroy();
    await succeed(stage, 'undo-failback', await id());
    assert.equal(await vm.state(), 'shut off');
    assert.deepEqual(await marksOf(production()), ['newer', 'newer']);
    await requireRunningWith('served');
  });

  test('committed, the point of the replica has its state, and production keeps it', async () => {
    await goHome();
    await succeed(stage, 'commit-failback', await id());
    assert.deepEqual(await marksOf(production()), ['served', 'served']);
    const state = (await stage.points(protection)).at(-1);
    assert.ok(state);
    assert.deepEqual((await stateOfPoint(state)).marks, ['served', 'served']);
    await vm.destroy();
    await mark(production(), 'home');
    await vm.start();
    const next = await stage.replicate(protection);
    assert.deepEqual((await stateOfPoint(next)).marks, ['home', 'home']);
    await failOverBlockVm(stage, protection, '--point', state.id, '--fence', 'power-off');
    await requireRunningWith('served');
  });

  /** A guest without an operating system ignores a shutdown. */
  async function goHome(): Promise<void> {
    await succeed(stage, 'failback', await id());
    const ways = ['--shutdown-deadline', '1s', '--on-missed-deadline', 'power-off'];
    const { id: operation } = await stage.ask(
      ['switch-over', await id(), ...ways, '--no-wait'],
      operationSchema,
    );
    await until('production has taken over', async () => {
      const { phase } = await stage.replica(protection);
      const seen = await stage.ask(['operation', 'show', operation], operationDetailSchema);
      assert.ok(['running', 'pending', 'succeeded'].includes(seen.state), describe(seen));
      return phase === 'Failback' && (await vm.state()) === 'running' ? true : undefined;
    });
  }

  async function addFirmware(): Promise<void> {
    const xml = await stage.production.virsh(['dumpxml', '--inactive', '--domain', vm.uuid]);
    const nvram = join(vm.folder, 'vars.fd');
    const firmware =
      `<loader readonly="yes" type="pflash">${CODE}</loader>` +
      `<nvram template="${TEMPLATE}">${nvram}</nvram>`;
    const tpm = '<tpm model="tpm-tis"><backend type="emulator" version="2.0"/></tpm>';
    const whole = xml
      .replace(/<memory .*<\/memory>/, '<memory unit="MiB">128</memory>')
      .replace(/<currentMemory .*<\/currentMemory>/, '')
      .replace('</os>', `${firmware}</os>`)
      .replace('</devices>', `${tpm}</devices>`);
    const file = join(stage.folder, 'firmware.xml');
    await writeFile(file, whole);
    await stage.production.virsh(['define', file]);
  }

  async function linkTpm(host: PrivateHost, uuid: string): Promise<void> {
    await mkdir(SWTPM, { recursive: true, mode: 0o711 });
    await symlink(join(host.folder, 'lib', 'swtpm', uuid), join(SWTPM, uuid));
    links.push(join(SWTPM, uuid));
  }

  async function requireRunningWith(text: string): Promise<void> {
    const pid = stage.recovery.qemuPid(replicaVmId);
    assert.ok(pid !== undefined);
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    assert.match(line, /OVMF_CODE/);
    assert.match(line, /tpm-tis/);
    assert.ok(line.includes(await nvramOf(replica())), 'its variables are those of its branch');
    assert.deepEqual(await marksOf(replica()), [text, text]);
  }

  /** As an operator would look at them: the files beside the point. */
  async function stateOfPoint(point: PointAnswer) {
    const folder = join(stage.storageFolder, await id(), 'points');
    const [nvram, tpm] = [join(folder, `${point.id}.nvram`), join(folder, `${point.id}.tpm`)];
    for (const path of [nvram, tpm]) {
      assert.equal((await stat(path)).mode & 0o777, 0o400, 'they may hold keys');
    }
    const listed = await run('tar', ['--list', '--file', tpm]);
    const names = [nvram, ...listed.split('\n').filter((name) => name.endsWith('permall'))];
    const marks = listed.includes('./mark')
      ? [
          await tailOf(nvram),
          await run('tar', ['--extract', '--to-stdout', '--file', tpm, './mark']),
        ]
      : [];
    return { names, marks };
  }
});

type Machine = { readonly host: PrivateHost; readonly uuid: string };

/** In the last bytes of the variables, which are spare, and in a file beside the chip's own. The VM is off. */
async function mark(machine: Machine, text: string): Promise<void> {
  const variables = await open(await nvramOf(machine), 'r+');
  try {
    const { size } = await variables.stat();
    await variables.write(Buffer.from(text.padEnd(16)), 0, 16, size - 16);
  } finally {
    await variables.close();
  }
  await writeFile(join(tpmOf(machine), 'mark'), text);
}

async function marksOf(machine: Machine): Promise<readonly string[]> {
  const chip = await readFile(join(tpmOf(machine), 'mark'), 'utf8');
  return [await tailOf(await nvramOf(machine)), chip];
}

async function tailOf(path: string): Promise<string> {
  return (await readFile(path)).subarray(-16).toString().trim();
}

async function nvramOf({ host, uuid }: Machine): Promise<string> {
  const xml = await host.virsh(['dumpxml', '--inactive', '--domain', uuid]);
  const path = /<nvram[^>]*>([^<]+)<\/nvram>/.exec(xml)?.[1];
  assert.ok(path !== undefined, xml);
  return path;
}

function tpmOf({ host, uuid }: Machine): string {
  return join(host.folder, 'lib', 'swtpm', uuid, 'tpm2');
}
