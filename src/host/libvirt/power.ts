/** Starting and stopping VMs. Each command may be repeated, also when an earlier one took effect unseen. */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import { hasCode, wasRefusedBecause } from './errors.ts';
import { readPower } from './inspect.ts';
import type { Virsh } from './virsh.ts';

/** Large guests take a minute to allocate; a busy daemon queues. */
const START_TIMEOUT_MS = 180_000;

/** libvirt waits 30 s for QEMU to end, then kills it and waits again. */
const DESTROY_TIMEOUT_MS = 90_000;

/** Each look costs a process of 25 ms. */
const SHUTDOWN_POLL_MS = 250;

/** A guest that boots, or shows a screen saver, ignores the first press of the button. */
const SHUTDOWN_REPEAT_MS = 10_000;

/** How long a silent agent may hold up the ACPI button. */
const AGENT_SHUTDOWN_MS = 5_000;

/** `virsh start` returns once the guest's processors run. */
export async function startVm(virsh: Virsh, id: VmId, options: CallOptions): Promise<void> {
  try {
    await virsh.run(['start', '--', id], { ...options, timeoutMs: START_TIMEOUT_MS });
  } catch (error) {
    if (!wasRefusedBecause(error, /already (?:active|running)/i)) throw error;
    const power = await readPower(virsh, id, options);
    if (power === 'running') return;
    // Not resumed: what paused it (a full disk, a person) has a reason that we do not know.
    throw new UnderstudyError('hypervisor-refused', { action: 'start', reason: `it is ${power}` });
  }
}

export async function powerOffVm(virsh: Virsh, id: VmId, options: CallOptions): Promise<void> {
  if ((await readPower(virsh, id, options)) === 'off') return;
  try {
    await virsh.run(['destroy', '--', id], { ...options, timeoutMs: DESTROY_TIMEOUT_MS });
  } catch (error) {
    if (!wasRefusedBecause(error, /is not running/i)) throw error;
  }
  const power = await readPower(virsh, id, options);
  if (power === 'off') return;
  throw new UnderstudyError('hypervisor-refused', { action: 'destroy', reason: `it is ${power}` });
}

export type Shutdown = {
  readonly virsh: Virsh;
  readonly clock: Clock;
  readonly vmId: VmId;
  readonly deadlineMs: number;
};

/** Asks through the agent where one answers, then by the ACPI button again and again. */
export async function shutDownVm(request: Shutdown, { signal }: CallOptions): Promise<boolean> {
  const { virsh, clock, vmId, deadlineMs } = request;
  const began = clock.monotonicMs();
  let asked: number | null = null;
  for (;;) {
    if ((await readPower(virsh, vmId, { signal })) === 'off') return true;
    const passed = clock.monotonicMs() - began;
    if (passed >= deadlineMs) return false;
    if (asked === null || passed - asked >= SHUTDOWN_REPEAT_MS) {
      await ask(virsh, vmId, { signal, mode: asked === null ? 'agent,acpi' : 'acpi' });
      asked = passed;
    }
    await clock.sleep(Math.min(SHUTDOWN_POLL_MS, deadlineMs - passed), { signal });
  }
}

/** Whatever comes of asking, the VM's power afterwards is the answer. */
async function ask(
  virsh: Virsh,
  id: VmId,
  { signal, mode }: CallOptions & { readonly mode: string },
): Promise<void> {
  try {
    const args = ['shutdown', '--mode', mode, '--', id];
    await virsh.run(args, { signal, timeoutMs: AGENT_SHUTDOWN_MS });
  } catch (error) {
    const isHung = hasCode(error, 'host-unreachable') && hasCode(error.cause, 'timed-out');
    if (isHung && mode !== 'acpi') return ask(virsh, id, { signal, mode: 'acpi' });
    if (isHung || hasCode(error, 'hypervisor-refused', 'vm-busy', 'guest-not-answering')) return;
    throw error;
  }
}
