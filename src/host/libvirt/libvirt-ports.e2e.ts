/**
 * The driver on a real libvirtd of its own keeps the contracts of its ports. Not among the unit tests: it takes half a minute.
 *
 *   node --test src/host/libvirt/libvirt-ports.e2e.ts
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type HypervisorHarness, hypervisorSuite } from '../../conformance/hypervisor.ts';
import { type StartGuardHarness, startGuardSuite } from '../../conformance/start-guard.ts';
import { type VmId, vmId } from '../../domain/ids.ts';
import { createLibvirtStartGuard } from './start-guard.ts';
import { branchFolder, missingProgram, openSite, overlay, SOURCE } from './testing/libvirt-site.ts';

const signal = new AbortController().signal;
const missing = await missingProgram();
const skip = missing === null ? false : `needs ${missing}`;

hypervisorSuite('libvirt', libvirtHarness, { skip });
startGuardSuite('libvirt', startGuardHarness, { skip });

async function libvirtHarness(): Promise<HypervisorHarness> {
  const site = await openSite();
  let serial = 0;
  return {
    hypervisor: site.hypervisor,
    sourceVm: SOURCE,
    async makeDisks(source) {
      serial += 1;
      const folder = await branchFolder(site, `branch ${serial}, a:b=c`);
      return Promise.all(
        source.disks.map(async (disk) => {
          const path = join(folder, `${disk.key}.qcow2`);
          await overlay(site, path);
          return { key: disk.key, path, format: 'qcow2' as const };
        }),
      );
    },
    [Symbol.asyncDispose]: () => site[Symbol.asyncDispose](),
  };
}

async function startGuardHarness(): Promise<StartGuardHarness> {
  const site = await openSite();
  const { host, virsh, hypervisor } = site;
  const other = vmId('5b1f1c7e-6f4c-4a53-9a0e-0d6d7a3c9b02');
  await virsh.run(['define', { file: barestXml(other) }], { signal });
  const hooksFolder = join(host.folder, 'etc', 'hooks');
  const startGuard = createLibvirtStartGuard({ virsh, hooksFolder, traits: hypervisor.traits });
  return {
    hypervisor,
    startGuard,
    vms: [SOURCE, other],
    async reload() {
      process.kill(host.pid ?? 0, 'SIGHUP'); // as `systemctl reload` does; a thread of the daemon sees to it
      for (let look = 0; (await startGuard.prove({ signal })).state !== 'active'; look += 1) {
        assert.ok(look < 10, 'libvirtd never noticed the hook');
      }
    },
    [Symbol.asyncDispose]: () => site[Symbol.asyncDispose](),
  };
}

function barestXml(uuid: VmId): string {
  return `<domain type='qemu'><name>barest</name><uuid>${uuid}</uuid><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>`;
}
