/** Whether libvirt runs our hook: a VM of 16 MiB without a disk, which the guard holds, is to be started, and must be refused. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asUnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { GuardState } from '../../ports/start-guard.ts';
import { hasCode } from './errors.ts';
import { type HookPlaces, isHookInstalled, writable, writeThrough } from './guard-hook.ts';
import type { TargetTraits } from './replica-xml.ts';
import type { Virsh } from './virsh.ts';
import { append, createRoot, serialiseXml } from './xml.ts';

/** One per host, so that a probe left by a killed process is found and ended by the next. */
const PROBE_NAME = 'understudy-guard-probe';
const PROBE_UUID = '0f6b1d52-5a0e-4b43-9d3c-3f1b8f0c9a27';
/** No replica's id, so that it is never taken for a guard of one. */
const PROBE_GUARD = `${PROBE_UUID}.probe.`;

const RELOAD =
  'libvirt looks for hooks when it starts or is reloaded: `systemctl reload libvirtd` (or virtqemud), which disturbs no VM; ' +
  'then look again with `understudy guard show`.';

type ProbedGuard = {
  readonly virsh: Virsh;
  readonly places: HookPlaces;
  readonly traits: (options: CallOptions) => Promise<TargetTraits>;
};

export async function proveHook(
  { virsh, places, traits }: ProbedGuard,
  { signal }: CallOptions,
): Promise<GuardState> {
  if (!(await isHookInstalled(places))) {
    return { state: 'absent', because: `There is no hook of this version at ${places.hookPath}.` };
  }
  const { domainType } = await traits({ signal });
  const { guardsFolder } = places;
  const guard = join(guardsFolder, PROBE_GUARD);
  try {
    await writable(guardsFolder, () =>
      writeThrough(join(guardsFolder, '.new-probe'), guard, 'This is only a test.\n'),
    );
    await end(virsh, { signal });
    await virsh.run(['create', '--paused', { file: probeXml(domainType) }], { signal });
    return { state: 'dormant', because: `The host started a VM that the guard held. ${RELOAD}` };
  } catch (error) {
    return refusal(error);
  } finally {
    // Also after an abort: what was begun is ended. The deadline of the command bounds it.
    await end(virsh, { signal: new AbortController().signal });
    await rm(guard, { force: true });
  }
}

function refusal(error: unknown): GuardState {
  if (hasCode(error, 'start-held')) {
    return { state: 'active', because: 'The host refused to start a VM that the guard held.' };
  }
  if (!hasCode(error, 'hypervisor-refused')) throw error;
  const { message } = asUnderstudyError(error);
  return { state: 'dormant', because: `It could not be proved. ${message}` };
}

async function end(virsh: Virsh, options: CallOptions): Promise<void> {
  try {
    await virsh.run(['destroy', '--', PROBE_UUID], options);
  } catch (error) {
    if (!hasCode(error, 'vm-missing', 'hypervisor-refused')) throw error;
  }
}

function probeXml(domainType: string): string {
  const domain = createRoot('domain', { type: domainType });
  append(domain, 'name', {}, PROBE_NAME);
  append(domain, 'uuid', {}, PROBE_UUID);
  append(domain, 'memory', { unit: 'MiB' }, '16');
  append(append(domain, 'os'), 'type', {}, 'hvm');
  const devices = append(domain, 'devices');
  append(devices, 'controller', { type: 'usb', model: 'none' });
  append(devices, 'memballoon', { model: 'none' });
  return serialiseXml(domain);
}
