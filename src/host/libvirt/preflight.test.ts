import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CommandResult, Processes } from '../../ports/processes.ts';
import {
  DOMAIN_CAPABILITIES,
  describedAs,
  EVERYTHING,
  scriptedVirsh,
} from './fixtures/fixtures.ts';
import type { HostFacts } from './host-facts.ts';
import { preflightSourceVm } from './preflight-source.ts';
import { preflightTargetVm } from './preflight-target.ts';

const signal = new AbortController().signal;
const source = describedAs(EVERYTHING);

const facts: HostFacts = {
  hypervisorVersion: 'libvirt 9.0.0',
  emulatorVersion: 'QEMU 7.2.22',
  emulatorPath: '/usr/bin/qemu-system-x86_64',
  architecture: 'x86_64',
  domainTypes: ['qemu', 'kvm'],
  machines: ['pc-q35-7.2', 'q35', 'pc'],
  cpuCount: 2,
  memoryBytes: 4 * 1024 ** 3,
};

describe('preflight at the target', () => {
  it('names every element that it cannot honour', async () => {
    const virsh = scriptedVirsh({
      domcapabilities: DOMAIN_CAPABILITIES,
      'net-list --all --name': 'lan\n\n',
      'net-list --name': '\n',
      list: `${source.id}\n`,
    });
    const request = { source, networkMap: {} };
    const text = EVERYTHING.replace('/usr/share/OVMF/OVMF_CODE_4M.ms.fd', '/nowhere/OVMF.fd');
    const described = { ...source, configuration: { ...source.configuration, text } };
    const findings = await preflightTargetVm(
      virsh,
      { request: { ...request, source: described }, facts, acceleration: 'software' },
      { signal },
    );
    assert.deepEqual(
      findings.map(({ severity, element }) => `${severity} ${element}`),
      [
        'warns acceleration',
        'blocks memory',
        'warns vcpu',
        'warns machine',
        'warns cpu',
        'warns seclabel',
        'warns numatune',
        'warns cputune/vcpupin',
        'warns cputune/emulatorpin',
        'warns memoryBacking/hugepages',
        'warns resource',
        'warns genid',
        'warns vcpu',
        'warns qemu:commandline',
        'blocks firmware loader',
        'blocks nic 52:54:00:AB:cd:01',
        'blocks nic 52:54:00:ab:cd:02',
        'warns nic 52:54:00:ab:cd:03',
        'warns device hostdev pci',
        'warns device filesystem share',
        'warns drive sdd',
        'warns device serial',
        'warns device vsock',
        'blocks device tpm',
        'blocks device video qxl',
        'warns uuid',
        'warns disk vdc',
        'warns disk vdd',
      ],
    );
    assert.match(findings[0]?.message ?? '', /although libvirt advertises kvm/);
    assert.ok(
      virsh.asked.some((line) => line.includes('--virttype qemu --arch x86_64 --machine q35')),
    );
  });
});

describe('preflight at the source', () => {
  it('says what marks would disturb', async () => {
    const live = EVERYTHING;
    const virsh = scriptedVirsh({
      dumpxml: live,
      dominfo:
        'State:          shut off\nPersistent:     yes\nAutostart:      disable\nManaged save:   yes\n',
      domblkinfo: 'sda 1073741824 1 1\nsdb 1073741824 1 1\n',
      'snapshot-list': 'before-update\n\n',
    });
    const image = { snapshots: [{}], 'format-specific': { data: { compat: '0.10' } } };
    const findings = await preflightSourceVm(
      { virsh, processes: answering(JSON.stringify(image)) },
      source.id,
      { signal },
    );
    assert.deepEqual(
      findings.map(({ severity, element }) => `${severity} ${element}`),
      [
        'warns saved state',
        'warns disk sdb',
        'blocks disk vdc',
        'blocks disk vdd',
        'warns internal snapshots',
        'blocks disk sda',
        'warns disk sda',
      ],
    );
  });
});

function answering(stdout: string): Processes {
  const never = () => Promise.reject(new Error('not used'));
  const result: CommandResult = { exitCode: 0, signal: null, stdout, stderr: '' };
  return { run: async () => result, startDaemon: never, isAlive: never, end: never };
}
