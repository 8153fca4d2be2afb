/** Processor, memory, firmware and machine: what the target gives instead of what the source had. */
import { formatBytes } from '../../domain/bytes.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { Acceleration } from './acceleration.ts';
import { blocks, warns } from './finding.ts';
import type { HostFacts } from './host-facts.ts';
import { machineAt } from './replica-xml.ts';
import { attribute, child, elementsIn, find, findAll, textOf, type XmlElement } from './xml.ts';

export type Platform = {
  readonly domain: XmlElement;
  /** The definition that the replica would have. */
  readonly replica: XmlElement;
  readonly source: VmDescription;
  readonly facts: HostFacts;
  readonly acceleration: Acceleration;
  readonly capabilities: XmlElement | string;
};

export function platformFindings(platform: Platform): PreflightFinding[] {
  return [
    ...accelerationFindings(platform),
    ...sizeFindings(platform),
    ...machineFindings(platform),
    ...processorFindings(platform),
    ...firmwareFindings(platform),
    ...passedThrough(platform.domain),
  ];
}

function accelerationFindings({ domain, acceleration, facts }: Platform): PreflightFinding[] {
  const type = attribute(domain, 'type') ?? 'kvm';
  if (type !== 'kvm' && type !== 'qemu') {
    return [blocks('hypervisor', `The VM is of type ${type}; replicas run on QEMU.`)];
  }
  if (type === 'kvm' && acceleration === 'software') {
    const advertised = facts.domainTypes.includes('kvm') ? ', although libvirt advertises kvm' : '';
    const message = `No guest boots with hardware acceleration here${advertised}: the replica is emulated, many times slower.`;
    return [warns('acceleration', message)];
  }
  if (type === 'kvm' && acceleration === 'unproved') {
    return [
      warns('acceleration', 'No test guest has booted here; whether replicas do is not known.'),
    ];
  }
  return type === 'qemu' && acceleration === 'hardware'
    ? [warns('acceleration', 'The VM is emulated at the source, and its replica stays so.')]
    : [];
}

function sizeFindings({ source, facts, capabilities }: Platform): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  if (source.memoryBytes > facts.memoryBytes) {
    const has = formatBytes(facts.memoryBytes);
    const message = `The VM has ${formatBytes(source.memoryBytes)}, the whole target ${has}.`;
    findings.push(blocks('memory', message));
  }
  const limit =
    typeof capabilities === 'string' ? null : attribute(child(capabilities, 'vcpu'), 'max');
  if (limit !== null && source.cpuCount > Number(limit)) {
    findings.push(blocks('vcpu', `The target's QEMU gives at most ${limit} processors to a VM.`));
  } else if (source.cpuCount > facts.cpuCount) {
    const message = `The VM has ${source.cpuCount} processors, the target ${facts.cpuCount}: it will be slower.`;
    findings.push(warns('vcpu', message));
  }
  return findings;
}

function machineFindings({ domain, facts, capabilities }: Platform): PreflightFinding[] {
  const machine = attribute(find(domain, 'os/type'), 'machine');
  const found = machine === null ? null : machineAt(facts.machines, machine);
  const findings: PreflightFinding[] = [];
  if (machine !== null && found !== machine) {
    const message = `The target lacks ${machine} and uses its ${found}: guests may see new devices, Windows may ask for activation.`;
    findings.push(warns('machine', message));
  }
  if (typeof capabilities === 'string') {
    findings.push(blocks('machine', `The target cannot run such a VM: ${capabilities}.`));
  }
  return findings;
}

function processorFindings({ domain, replica, capabilities }: Platform): PreflightFinding[] {
  const cpu = child(domain, 'cpu');
  if (cpu === null || typeof capabilities === 'string') return [];
  const mode = attribute(cpu, 'mode') ?? 'custom';
  if (mode === 'host-passthrough' || mode === 'host-model' || mode === 'maximum') {
    const message = `The guest sees the target's processor instead of the source's (${mode}); a guest that was installed for one may refuse the other. Name a CPU model that both have to avoid it.`;
    return [warns('cpu', message)];
  }
  const model = textOf(child(cpu, 'model'));
  const custom = findAll(capabilities, 'cpu/mode').find((m) => attribute(m, 'name') === 'custom');
  const known = custom && findAll(custom, 'model').find((entry) => textOf(entry) === model);
  if (model === null || attribute(known ?? null, 'usable') !== 'no') {
    return model === null || known !== undefined || custom === undefined
      ? []
      : [blocks('cpu', `The target's QEMU does not know the CPU model ${model}.`)];
  }
  const message = `The target's processor lacks features of the CPU model ${model}.`;
  return [
    isUnchecked(replica) ? warns('cpu', `${message} They are left out.`) : blocks('cpu', message),
  ];
}

/** Whether the replica starts with what there is of its processor. Unless told, libvirt checks it where it is not emulated. */
function isUnchecked(replica: XmlElement): boolean {
  const check = attribute(child(replica, 'cpu'), 'check');
  return check === 'none' || (check === null && attribute(replica, 'type') === 'qemu');
}

function firmwareFindings({ domain, capabilities }: Platform): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  const os = child(domain, 'os');
  if (typeof capabilities !== 'string' && attribute(os, 'firmware') === 'efi') {
    const offered = findAll(capabilities, 'os/enum/value').map(textOf);
    if (!offered.includes('efi') && find(domain, 'os/loader') === null) {
      findings.push(blocks('firmware', 'The target has no UEFI firmware. Install package ovmf.'));
    }
  }
  const security = attribute(child(domain, 'launchSecurity'), 'type');
  if (security !== null) {
    const message = `The VM's memory is encrypted (${security}) with keys of the source's processor.`;
    findings.push(
      typeof capabilities !== 'string' && canEncrypt(capabilities, security)
        ? warns('launchSecurity', `${message} It is attested anew at the target.`)
        : blocks('launchSecurity', `${message} The target's processor cannot do that.`),
    );
  }
  return findings;
}

/** Since 10.5 libvirt lists the kinds; before, it knew two, each with an element of its own that says nothing of the later ones. */
function canEncrypt(capabilities: XmlElement, security: string): boolean {
  const listed = find(capabilities, 'features/launchSecurity');
  if (listed !== null) return findAll(listed, 'enum/value').map(textOf).includes(security);
  const isOld = security === 'sev' || security === 's390-pv';
  return isOld && attribute(find(capabilities, `features/${security}`), 'supported') === 'yes';
}

/** Elements of other namespaces, e.g. `qemu:commandline`: kept word for word, because we cannot know what they mean. */
function passedThrough(domain: XmlElement): PreflightFinding[] {
  const message =
    'It is passed on as it is. Paths, ports and devices named in it must exist at the target.';
  return elementsIn(domain)
    .filter(({ namespaceURI }) => namespaceURI !== null)
    .map(({ nodeName }) => warns(nodeName, message));
}
