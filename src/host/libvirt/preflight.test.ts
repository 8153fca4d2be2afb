import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import type { VmId } from '../../domain/ids.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CommandResult, Processes } from '../../ports/processes.ts';
import { readDomainSchema } from './domain-schema.ts';
import {
  DOMAIN_CAPABILITIES,
  describedAs,
  EVERYTHING,
  refusal,
  scriptedVirsh,
} from './fixtures/fixtures.ts';
import type { HostFacts } from './host-facts.ts';
import { unknownFindings } from './preflight-definition.ts';
import { preflightSourceVm } from './preflight-source.ts';
import { preflightTargetVm } from './preflight-target.ts';
import type { NetworkMap } from './replica-nics.ts';
import { parseRoot } from './xml.ts';

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

/** What the target's QEMU has, as it lists it. */
const DEVICES = [
  'name "e1000e", bus PCI, desc "Intel 82574L GbE Controller"',
  'name "virtio-net-pci", bus PCI, alias "virtio-net"',
  'name "virtio-scsi-pci", bus PCI, alias "virtio-scsi"',
  'name "lsi53c895a", bus PCI, alias "lsi"',
].join('\n');

type Target = {
  readonly networkMap?: NetworkMap;
  readonly standInId?: VmId;
  readonly acceleration?: 'hardware' | 'software';
  readonly answers?: Parameters<typeof scriptedVirsh>[0];
};

async function preflight(text: string, target: Target = {}): Promise<PreflightFinding[]> {
  const { networkMap = {}, standInId = null, acceleration = 'software' } = target;
  const virsh = scriptedVirsh({
    domcapabilities: DOMAIN_CAPABILITIES,
    'net-list --all --name': 'lan\n\n',
    'net-list --name': '\n',
    list: '',
    'nwfilter-list': ` UUID                                   Name\n----\n ${source.id}   clean-traffic\n`,
    'domxml-to-native': '',
    ...target.answers,
  });
  const domainType = acceleration === 'hardware' ? ('kvm' as const) : ('qemu' as const);
  const request = { source: describedAs(text), networkMap, standInId };
  const traits = { domainType, machines: facts.machines };
  return preflightTargetVm(
    { virsh, processes: answering(DEVICES) },
    { request, facts, acceleration, traits, schema: null },
    { signal },
  );
}

const inShort = (findings: readonly PreflightFinding[]) =>
  findings.map(({ severity, element }) => `${severity} ${element}`);

/** A definition with these devices and nothing else that is worth a word. */
function withDevices(devices: string): string {
  return `<domain type="kvm"><name>a</name><uuid>${source.id}</uuid><memory>1024</memory>
    <os><type arch="x86_64" machine="pc-q35-7.2">hvm</type></os><devices>${devices}</devices></domain>`;
}

function ofDevices(devices: string, target: Target = {}): Promise<PreflightFinding[]> {
  return preflight(withDevices(devices), { acceleration: 'hardware', ...target });
}

describe('preflight at the target', () => {
  it('names every element that it cannot honour', async () => {
    const asked: string[] = [];
    const findings = await preflight(
      EVERYTHING.replace('/usr/share/OVMF/OVMF_CODE_4M.ms.fd', '/nowhere/OVMF.fd'),
      {
        answers: {
          list: `${source.id}\n`,
          domcapabilities(args) {
            asked.push(args.join(' '));
            return DOMAIN_CAPABILITIES;
          },
        },
      },
    );
    assert.deepEqual(inShort(findings), [
      'warns acceleration',
      'blocks memory',
      'warns vcpu',
      'warns machine',
      'warns cpu',
      'warns qemu:commandline',
      'warns genid',
      'warns memoryBacking/hugepages',
      'warns vcpu',
      'warns cputune/vcpupin',
      'warns cputune/emulatorpin',
      'warns numatune',
      'warns resource',
      'warns features/hyperv',
      'warns features/kvm',
      'warns cpu/feature',
      'warns clock/timer',
      'warns disk sda',
      'warns drive sdd',
      'warns device filesystem share',
      'warns nic 52:54:00:ab:cd:03',
      'warns device serial file',
      'warns device graphics vnc',
      'warns device graphics vnc',
      'warns device audio pulseaudio',
      'warns device hostdev pci',
      'warns device vsock virtio',
      'warns seclabel',
      'blocks firmware loader',
      'blocks nic 52:54:00:AB:cd:01',
      'blocks nic 52:54:00:ab:cd:02',
      'warns nic 52:54:00:ab:cd:03',
      'blocks device tpm',
      'blocks device video qxl',
      'warns uuid',
      'warns disk vdc',
      'warns disk vdd',
    ]);
    assert.match(findings[0]?.message ?? '', /although libvirt advertises kvm/);
    assert.match(asked.join(), /--virttype qemu --arch x86_64 --machine q35/);
  });

  it('has nothing to say of a display or a sound that any host has', async () => {
    const any = [
      '<graphics type="vnc" port="-1" autoport="yes" listen="127.0.0.1"><listen type="address" address="127.0.0.1"/></graphics>',
      '<graphics type="vnc" port="5900" autoport="yes"><listen type="none"/></graphics>',
      '<audio id="1" type="none"/>',
      '<channel type="unix"><source mode="bind" path="/var/lib/libvirt/qemu/channel/target/domain-1-a/org.qemu.guest_agent.0"/><target type="virtio" name="org.qemu.guest_agent.0"/></channel>',
      '<serial type="null"><target port="0"/></serial>',
    ].join('');
    assert.deepEqual(await ofDevices(any), []);
  });

  it('does not ask for what the replica does not have', async () => {
    const gone = '<graphics type="sdl"/><tpm model="tpm-tis"><backend type="passthrough"/></tpm>';
    assert.deepEqual(inShort(await ofDevices(gone)), [
      'warns device graphics sdl',
      'warns device tpm tpm-tis',
    ]);
  });

  it('does not take the replica of an earlier job for a stranger with the same UUID', async () => {
    const answers = { list: `${source.id}\n` };
    assert.deepEqual(inShort(await ofDevices('', { answers })), ['warns uuid']);
    assert.deepEqual(await ofDevices('', { answers, standInId: source.id }), []);
  });

  it("knows which filters the target's libvirt has, for NICs that keep theirs", async () => {
    const filtered = (name: string) =>
      ofDevices(
        `<interface type="user"><mac address="52:54:00:00:00:01"/><filterref filter="${name}"/></interface>`,
      );
    assert.deepEqual(await filtered('clean-traffic'), []);
    const [finding] = await filtered('own-rules');
    assert.equal(finding?.severity, 'blocks');
    assert.match(finding?.message ?? '', /no filter own-rules/);
    const nic =
      '<interface type="network"><source network="lan"/><filterref filter="own-rules"/></interface>';
    const unplugged = await ofDevices(nic, { networkMap: { lan: null } });
    assert.deepEqual(inShort(unplugged), ['warns nic without MAC']);
  });

  it("knows which models the target's QEMU has", async () => {
    const known =
      '<controller type="scsi" model="virtio-scsi"/><controller type="scsi" model="lsilogic"/><interface type="user"><model type="e1000e"/></interface><controller type="pci" model="pcie-root"/>';
    assert.deepEqual(await ofDevices(known), []);
    const unknown =
      '<controller type="usb" model="ehci"/><interface type="user"><model type="vmxnet3"/></interface><watchdog model="i6300esb"/><sound model="ac97"/>';
    assert.deepEqual(inShort(await ofDevices(unknown)), [
      'blocks device interface vmxnet3',
      'blocks device controller ehci',
      'blocks device watchdog i6300esb',
      'blocks device sound ac97',
    ]);
    // libvirt takes any word for the model of a NIC.
    const odd = '<interface type="user"><model type="constructor"/></interface>';
    assert.deepEqual(inShort(await ofDevices(odd)), ['blocks device interface constructor']);
  });

  it('knows which versions of a TPM the target can emulate', async () => {
    const tpm = (version: string) =>
      `<tpm model="tpm-crb"><backend type="emulator" version="${version}"/></tpm>`;
    const offers = `<tpm supported="yes"><enum name="model"><value>tpm-crb</value></enum>
      <enum name="backendModel"><value>emulator</value></enum><enum name="backendVersion"><value>2.0</value></enum></tpm>`;
    const domcapabilities = DOMAIN_CAPABILITIES.replace(/<tpm .*?(?:<\/tpm>|\/>)/s, offers);
    const answers = { domcapabilities };
    assert.deepEqual(await ofDevices(tpm('2.0'), { answers }), []);
    assert.deepEqual(inShort(await ofDevices(tpm('1.2'), { answers })), ['blocks device tpm 1.2']);
  });

  it('does not insist on a processor that nobody checks', async () => {
    const domcapabilities = DOMAIN_CAPABILITIES.replace(
      /<mode name=['"]custom['"].*?<\/mode>/s,
      '<mode name="custom" supported="yes"><model usable="no">Weak</model></mode>',
    );
    const ofCpu = async (type: string, check: string) => {
      const cpu = `<cpu mode="custom" ${check}><model>Weak</model></cpu>`;
      const text = withDevices('')
        .replace('<devices>', `${cpu}<devices>`)
        .replace('"kvm"', `"${type}"`);
      const found = await preflight(text, {
        acceleration: 'hardware',
        answers: { domcapabilities },
      });
      return inShort(found.filter(({ element }) => element === 'cpu'));
    };
    assert.deepEqual(await ofCpu('kvm', ''), ['blocks cpu']);
    assert.deepEqual(await ofCpu('kvm', 'check="partial"'), ['blocks cpu']);
    assert.deepEqual(await ofCpu('kvm', 'check="none"'), ['warns cpu']);
    assert.deepEqual(await ofCpu('qemu', ''), ['warns cpu']);
    // Seen with libvirt 9.0: it does not start, although it is emulated.
    assert.deepEqual(await ofCpu('qemu', 'check="partial"'), ['blocks cpu']);
  });

  it("tells the kinds of encrypted memory apart that the target's processor has", async () => {
    const old = '<sev supported="yes"/></features>';
    const listed = `<sev supported="yes"/><launchSecurity supported="yes"><enum name="sectype"><value>sev</value><value>tdx</value></enum></launchSecurity></features>`;
    const ofSecurity = async (type: string, features: string) => {
      const text = withDevices('').replace(
        '<devices>',
        `<launchSecurity type="${type}"/><devices>`,
      );
      const domcapabilities = DOMAIN_CAPABILITIES.replace(/<sev .*<\/features>/s, features);
      const found = await preflight(text, {
        acceleration: 'hardware',
        answers: { domcapabilities },
      });
      return inShort(found);
    };
    const can = ['warns launchSecurity'];
    const cannot = ['blocks launchSecurity'];
    assert.deepEqual(await ofSecurity('sev', old), can);
    assert.deepEqual(await ofSecurity('sev-snp', old), cannot);
    assert.deepEqual(await ofSecurity('sev', listed), can);
    assert.deepEqual(await ofSecurity('tdx', listed), can);
    assert.deepEqual(await ofSecurity('sev-snp', listed), cannot);
  });

  it('says what of a device lies in a file of the source host, or is drawn by its GPU', async () => {
    const pstore = '<pstore backend="acpi-erst"><path>/var/erst</path><size>64</size></pstore>';
    const [gone] = await ofDevices(pstore);
    assert.equal(gone?.element, 'device pstore');
    const video =
      '<video><model type="virtio"><acceleration accel3d="yes" rendernode="/dev/dri/renderD129"/></model></video>';
    const found = await ofDevices(video);
    assert.match(found.map(({ message }) => message).join(), /GPU that draws it/);
  });

  it("names what the target's libvirt does not know and would leave out", async () => {
    const path = fileURLToPath(new URL('fixtures/schema/domain.rng', import.meta.url));
    const schema = await readDomainSchema(path);
    const replica = `<domain type="kvm" colour="red" xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0">
      <title>a</title><metadata><anything of="mine"/></metadata>
      <devices><disk device="lun" wheels="4"><layer/></disk><disk wheels="4"/><panic><address/></panic></devices>
      <q:commandline q:x="1"/></domain>`;
    const findings = unknownFindings(parseRoot(replica, 'domain', 'vm'), {
      schema,
      version: 'libvirt 9',
    });
    assert.deepEqual(inShort(findings), [
      'warns @colour',
      'warns devices/disk/@wheels',
      'warns devices/disk/layer',
      'warns devices/panic',
    ]);
    assert.match(findings[0]?.message ?? '', /libvirt 9 does not know it/);
  });

  it('passes on why libvirt refuses it, and asks without NICs', async () => {
    const asked: string[] = [];
    const findings = await ofDevices('<interface type="ethernet"><script path="/x"/></interface>', {
      answers: {
        'domxml-to-native'(args) {
          asked.push(args.join(' '));
          throw refusal('unsupported configuration: no such thing');
        },
      },
    });
    const finding = findings.find(({ element }) => element === 'definition');
    assert.equal(finding?.severity, 'blocks');
    assert.match(finding?.message ?? '', /no such thing/);
    assert.doesNotMatch(asked.join(), /<interface/);
  });

  it('looks for the files of the host that the definition names', async () => {
    const named =
      '<rng model="virtio"><backend model="random">/nowhere/hwrng</backend></rng><interface type="user"><rom file="/nowhere/rom"/></interface>';
    const blocked = await ofDevices(named);
    assert.deepEqual(inShort(blocked), ['blocks boot ROM of a nic', 'blocks device rng']);
    const egd =
      '<rng model="virtio"><backend model="egd" type="unix"><source mode="connect" path="/nowhere/egd"/></backend></rng>';
    const shim = withDevices(egd).replace('</os>', '<shim>/nowhere/shim.efi</shim></os>');
    const more = inShort(await preflight(shim, { acceleration: 'hardware' }));
    assert.ok(more.includes('blocks firmware shim'), more.join());
    assert.ok(more.includes('blocks device rng'), more.join());
  });
});

describe('preflight at the source', () => {
  it('says what marks would disturb', async () => {
    const live = EVERYTHING;
    const dominfo =
      'State:          shut off\nPersistent:     yes\nAutostart:      disable\nManaged save:   yes\n';
    const domblkinfo = 'sda 1073741824 1 1\nsdb 1073741824 1 1\n';
    const virsh = scriptedVirsh({
      dumpxml: live,
      dominfo,
      domblkinfo,
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
    // A disk that gets no marks may be of any version.
    const readOnly = live.replace("<target dev='sda'", "<readonly/><target dev='sda'");
    const sealed = scriptedVirsh({ dumpxml: readOnly, dominfo, domblkinfo, 'snapshot-list': '' });
    const unmarked = await preflightSourceVm(
      { virsh: sealed, processes: answering(JSON.stringify(image)) },
      source.id,
      { signal },
    );
    assert.equal(inShort(unmarked).includes('blocks disk sda'), false);
    // What cannot be looked at is nothing against protecting it.
    for (const code of ['command-missing', 'timed-out'] as const) {
      const found = await preflightSourceVm({ virsh, processes: failing(code) }, source.id, {
        signal,
      });
      assert.deepEqual(found, findings.slice(0, 5));
    }
  });
});

function failing(code: ErrorCode): Processes {
  return { ...answering(''), run: () => Promise.reject(new UnderstudyError(code)) };
}

function answering(stdout: string): Processes {
  const never = () => Promise.reject(new Error('not used'));
  const result: CommandResult = { exitCode: 0, signal: null, stdout, stderr: '' };
  return { run: async () => result, startDaemon: never, isAlive: never, end: never };
}
