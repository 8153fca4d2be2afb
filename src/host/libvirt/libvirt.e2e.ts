/**
 * The driver against a real libvirtd of its own. Not among the unit tests: it takes half a minute.
 *
 *   node --test src/host/libvirt/libvirt.e2e.ts
 */
import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import {
  diskKey,
  operationId,
  operationKey,
  replicaId,
  type VmId,
  vmId,
} from '../../domain/ids.ts';
import type { Hypervisor } from '../../ports/hypervisor.ts';
import type { Processes } from '../../ports/processes.ts';
import { ensureGuestImage } from '../../rig/guest-image.ts';
import { killIfAlive, waitForExit } from '../../rig/processes.ts';
import { createTestVm } from '../../rig/test-vm.ts';
import { until } from '../../rig/until.ts';
import { systemClock } from '../../system/clock.ts';
import { systemIds } from '../../system/ids.ts';
import { systemProcesses } from '../../system/processes.ts';
import { describedAs } from './fixtures/fixtures.ts';
import { createLibvirtHypervisor } from './hypervisor.ts';
import {
  branchFolder,
  missingProgram,
  openSite,
  overlay,
  run,
  type Site,
  SOURCE,
} from './testing/libvirt-site.ts';
import { createVirsh } from './virsh.ts';

const signal = new AbortController().signal;
const key = operationKey(operationId('e2e'), 'step');

const missing = await missingProgram();
const skip = missing === null ? false : `needs ${missing}`;

/** What libvirt takes on a NIC of the one type and refuses on one of another. */
const NICS = [
  "<interface type='network'><source network='lan'/><mtu size='9000'/><coalesce><rx><frames max='7'/></rx></coalesce><port isolated='yes'/>",
  "<interface type='network'><source network='lan'/><teaming type='transient' persistent='ua-nic'/>",
  "<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'/><vlan><tag id='4'/></vlan><bandwidth><inbound average='1000'/></bandwidth><filterref filter='clean-traffic'/>",
  "<interface type='user'><ip address='10.0.0.1' prefix='24'/>",
  "<interface type='ethernet'><script path='/bin/true'/><downscript path='/bin/true'/>",
  "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/><route address='0.0.0.0' prefix='0' gateway='10.0.0.1'/>",
];

describe('libvirt beyond the port', { skip }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.[Symbol.asyncDispose]());

  it('proves by a boot that this machine emulates, or not', async (t) => {
    const began = performance.now();
    const first = await site.hypervisor.describe({ signal });
    const firstMs = performance.now() - began;
    const { acceleration } = await site.hypervisor.describe({ signal });
    t.diagnostic(`${first.acceleration}, first ${firstMs.toFixed()} ms`);
    assert.notEqual(first.acceleration, 'unproved');
    assert.equal(acceleration, first.acceleration);
    const names = (await site.hypervisor.vms({ signal })).map((vm) => vm.name);
    assert.ok(!names.some((name) => name.includes('probe')), names.join());
  });

  it('takes the replica of a NIC of any kind, plugged into anything', async () => {
    const others = [null, 'user', 'bridge:br7', 'network:recovery', 'direct:eth7'];
    const request = await replicaRequest(site, 'nic');
    const { source } = request;
    for (const nic of NICS) {
      const text = source.configuration.text.replace(/<interface type='user'>/, nic);
      const { network } = describedAs(text).nics[0] ?? {};
      for (const to of others) {
        const configuration = { ...source.configuration, text };
        const networkMap = { [network ?? '']: to };
        const defined = { ...request, source: { ...source, configuration }, networkMap };
        const id = await site.hypervisor.defineReplica(defined, { signal });
        await remove(site, id);
      }
    }
  });

  it('says beforehand what this libvirt leaves out, and what it refuses', async () => {
    const request = await replicaRequest(site, 'unknown');
    const preflightOf = (device: string) =>
      site.hypervisor.preflightTarget(withDevice(request, device), { signal });
    const unknown = "<wormhole model='virtio'/>";
    const findings = await preflightOf(unknown);
    assert.deepEqual(
      findings.filter(({ element }) => /wormhole|definition/.test(element)).map((f) => f.element),
      ['devices/wormhole'],
    );
    const id = await site.hypervisor.defineReplica(withDevice(request, unknown), { signal });
    assert.doesNotMatch(await site.host.virsh(['dumpxml', id]), /wormhole/);
    await remove(site, id);

    const refused = "<sound model='gramophone'/>";
    const [blocked] = (await preflightOf(refused)).filter(
      ({ element }) => element === 'definition',
    );
    assert.match(blocked?.message ?? '', /gramophone/);
    await assert.rejects(site.hypervisor.defineReplica(withDevice(request, refused), { signal }));
  });

  it('adds little to a bare start', async (t) => {
    const request = await replicaRequest(site, 'quick');
    const id = await site.hypervisor.defineReplica(request, { signal });
    const began = performance.now();
    await site.hypervisor.defineReplica({ ...request, vmId: id }, { signal });
    const defined = performance.now();
    await site.hypervisor.start({ key, vmId: id }, { signal });
    const started = performance.now();
    await site.hypervisor.powerOff({ key, vmId: id }, { signal });
    const bareBegan = performance.now();
    await site.host.virsh(['start', id]);
    const bareMs = performance.now() - bareBegan;
    const [defineMs, startMs] = [defined - began, started - defined];
    t.diagnostic(
      `define ${defineMs.toFixed()} start ${startMs.toFixed()} bare ${bareMs.toFixed()} ms`,
    );
    await remove(site, id);
  });

  it('flattens while running and while off; the disk reads the same', async () => {
    for (const isRunning of [true, false]) {
      const request = await replicaRequest(site, `flat-${isRunning}`);
      const id = await site.hypervisor.defineReplica(request, { signal });
      if (isRunning) await site.hypervisor.start({ key, vmId: id }, { signal });
      const path = request.disks[0]?.path ?? '';
      assert.match(await imageInfo(path), /"backing-filename"/);
      const progress: number[] = [];
      const disks = [diskKey('vda')];
      const onProgress = (done: number, total: number) => progress.push(done / total);
      await site.hypervisor.flatten({ key, vmId: id, disks }, { signal, onProgress });
      await site.hypervisor.flatten({ key, vmId: id, disks }, { signal });
      // The layers go next, so that what was flattened must be in the file, not only in a QEMU that may die.
      const pid = site.host.qemuPid(id);
      if (pid !== undefined) killIfAlive(pid);
      if (pid !== undefined) await waitForExit(pid);
      await remove(site, id, { keepDefinition: true });
      assert.doesNotMatch(await imageInfo(path), /"backing-filename"/);
      assert.equal(progress.at(-1), 1);
      await run('qemu-img', [
        'compare',
        '-f',
        'raw',
        '-F',
        'qcow2',
        join(site.folder, 'base.raw'),
        path,
      ]);
      await remove(site, id);
    }
  });

  it('flattens while off, killed at any moment: the disk reads the same, and again goes on', async () => {
    const request = await replicaRequest(site, 'flat-killed');
    const id = await site.hypervisor.defineReplica(request, { signal });
    const path = request.disks[0]?.path ?? '';
    const fresh = join(site.folder, 'fresh.qcow2');
    await run('cp', [path, fresh]);
    const same = () =>
      run('qemu-img', [
        'compare',
        '-U',
        '-f',
        'raw',
        '-F',
        'qcow2',
        join(site.folder, 'base.raw'),
        path,
      ]);
    const disks = [diskKey('vda')];
    let killed = 0;
    for (let afterMs = 1; afterMs < 200; afterMs += 15) {
      await run('cp', [fresh, path]);
      const mortal = mortalHypervisor(site, afterMs / 1000);
      await mortal.flatten({ key, vmId: id, disks }, { signal }).catch(() => {
        killed += 1;
      });
      await same();
    }
    assert.ok(killed > 0);
    await site.hypervisor.flatten({ key, vmId: id, disks }, { signal });
    assert.doesNotMatch(await imageInfo(path), /"backing-filename"/);
    await same();
    await remove(site, id);
  });

  it('takes no answer for no answer: a stopped daemon is unreachable, and nothing is missing or off', async () => {
    const pid = site.host.pid;
    assert.ok(pid !== undefined);
    const impatient = createVirsh({
      uri: site.host.uri,
      hostName: 'e2e',
      environment: site.host.env,
      processes: {
        ...systemProcesses(),
        run: (command, options) => systemProcesses().run({ ...command, timeoutMs: 500 }, options),
      },
    });
    process.kill(pid, 'SIGSTOP');
    try {
      await unreachable(impatient.run(['domstate', '--', SOURCE], { signal }));
    } finally {
      process.kill(pid, 'SIGCONT');
      // nsenter stops together with its child, and does not go on by itself.
      process.kill(await parentOf(pid), 'SIGCONT');
    }
    await site.host.killDaemon();
    await unreachable(site.hypervisor.power(SOURCE, { signal }));
    await unreachable(site.hypervisor.vm(SOURCE, { signal }));
    await unreachable(site.hypervisor.undefine({ key, vmId: SOURCE }, { signal }));
    await unreachable(site.hypervisor.guest(SOURCE, { signal, deadlineMs: 2000 }));
    await site.host.restartDaemon();
    assert.equal(await site.hypervisor.power(SOURCE, { signal }), 'off');
  });

  it('asks a real guest, and shuts it down', async (t) => {
    const image = await ensureGuestImage();
    const folder = join(site.folder, 'guest');
    const vm = await createTestVm({ host: site.host, name: 'real guest', folder, image });
    const id = vmId(vm.uuid);
    await site.hypervisor.start({ key, vmId: id }, { signal });
    await vm.waitForHttp();
    const report = await agentReport(site.hypervisor, id);
    t.diagnostic(JSON.stringify(report));
    assert.ok(report.addresses.length > 0);
    const began = performance.now();
    const command = { key, vmId: id, deadlineMs: 60_000 };
    assert.equal(await site.hypervisor.shutdown(command, { signal }), true);
    t.diagnostic(`shut down in ${(performance.now() - began).toFixed()} ms`);
    assert.equal(await site.hypervisor.power(id, { signal }), 'off');
  });

  it('waits for a guest that ignores the button no longer than it was told', async () => {
    const request = await replicaRequest(site, 'deaf');
    const id = await site.hypervisor.defineReplica(request, { signal });
    await site.hypervisor.start({ key, vmId: id }, { signal });
    const command = { key, vmId: id, deadlineMs: 700 };
    assert.equal(await site.hypervisor.shutdown(command, { signal }), false);
    assert.equal(await site.hypervisor.power(id, { signal }), 'running');
    const began = performance.now();
    const report = await site.hypervisor.guest(id, { signal, deadlineMs: 1000 });
    assert.equal(report.agentAnswers, false);
    assert.ok(performance.now() - began < 10_000);
    await remove(site, id);
  });

  it('gives up a saved memory image of a replica when it is redefined', async () => {
    const request = await replicaRequest(site, 'saved');
    const id = await site.hypervisor.defineReplica(request, { signal });
    await site.hypervisor.start({ key, vmId: id }, { signal });
    await site.host.virsh(['managedsave', id]);
    assert.equal((await site.hypervisor.vm(id, { signal })).hasSavedState, true);
    await site.hypervisor.defineReplica({ ...request, vmId: id }, { signal });
    assert.equal((await site.hypervisor.vm(id, { signal })).hasSavedState, false);
    await remove(site, id);
  });

  it('describes disks that it cannot read without failing', async () => {
    await rm(join(site.folder, 'gone.raw'));
    const vm = await site.hypervisor.vm(SOURCE, { signal });
    const gone = vm.disks.find((disk) => disk.key === 'vdb');
    assert.match(gone?.unsupportedBecause ?? '', /cannot be read/);
    assert.equal(vm.disks.find((disk) => disk.key === 'vda')?.sizeBytes, 16 * 1024 * 1024);
    const findings = await site.hypervisor.preflightSource(SOURCE, { signal });
    assert.deepEqual(
      findings.map(({ severity, element }) => `${severity} ${element}`),
      ['blocks disk vdb'],
    );
  });
});

async function replicaRequest(site: Site, name: string) {
  const folder = await branchFolder(site, name);
  const path = join(folder, 'vda.qcow2');
  await overlay(site, path);
  return {
    key,
    replicaId: replicaId(`replica-${name}`),
    epoch: 1,
    name: `replica ${name}`,
    source: await site.hypervisor.vm(SOURCE, { signal }),
    vmId: null,
    disks: [{ key: diskKey('vda'), path, format: 'qcow2' as const }],
    networkMap: {},
    connectNics: false,
    sidecars: [],
  };
}

function withDevice(request: Awaited<ReturnType<typeof replicaRequest>>, device: string) {
  const { source } = request;
  const text = source.configuration.text.replace('</devices>', `${device}</devices>`);
  return { ...request, source: { ...source, configuration: { ...source.configuration, text } } };
}

async function imageInfo(path: string): Promise<string> {
  return (await run('qemu-img', ['info', '-U', '--output=json', path])).stdout;
}

/** Its `qemu-img rebase` is killed after that time. */
function mortalHypervisor({ virsh, folder }: Site, afterSeconds: number): Hypervisor {
  const real = systemProcesses();
  const processes: Processes = {
    ...real,
    run: (command, options) => {
      if (command.arguments[0] !== 'rebase') return real.run(command, options);
      const killing = ['-s', 'KILL', String(afterSeconds), command.command];
      const args = [...killing, ...command.arguments];
      return real.run({ ...command, command: 'timeout', arguments: args }, options);
    },
  };
  const storageFolder = join(folder, 'storage');
  const [clock, ids] = [systemClock(), systemIds()];
  return createLibvirtHypervisor({ virsh, processes, clock, ids, storageFolder });
}

async function remove(site: Site, id: VmId, { keepDefinition = false } = {}): Promise<void> {
  await site.hypervisor.powerOff({ key, vmId: id }, { signal });
  if (!keepDefinition) await site.hypervisor.undefine({ key, vmId: id }, { signal });
}

/** The agent starts a little after the guest's web server. */
function agentReport(hypervisor: Hypervisor, id: VmId) {
  return until('the agent answers', async () => {
    const report = await hypervisor.guest(id, { signal, deadlineMs: 2000 });
    return report.agentAnswers ? report : undefined;
  });
}

async function unreachable(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof UnderstudyError, String(error));
    assert.equal(error.code, 'host-unreachable', error.message);
    return true;
  });
}

async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}
