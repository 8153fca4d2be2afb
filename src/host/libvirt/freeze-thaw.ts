/** Thawing a guest's file systems. A guest that stays frozen is as good as down: either it says that it goes on, or a person is told. */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import { hasCode } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { saysNotRunning } from './freeze-errors.ts';
import type { Hold } from './freeze-sequence.ts';

const DEADLINE_MS = 60_000;
/** As long as a guest gets to freeze: after that it was not asked to, and its agent is just silent. */
const UNLIKELY_MS = 15_000;
const RETRY_MS = 500;

/** Tries until the guest says so. A VM that is gone is thawed. Throws `freeze-failed` with what a person must do. */
export async function thaw(
  context: FreezeContext,
  vmId: VmId,
  hold: Exclude<Hold, 'none'>,
): Promise<void> {
  const { virsh, clock } = context;
  const began = clock.monotonicMs();
  for (;;) {
    try {
      await virsh.run(['domfsthaw', '--', vmId], UNABORTED);
      return;
    } catch (error) {
      if (isOver(error) || (hold !== 'frozen' && wasNeverHeld(error))) return;
      const passedMs = clock.monotonicMs() - began;
      const isSilent = hasCode(error, 'guest-not-answering');
      if (hold === 'unlikely' && isSilent && passedMs > UNLIKELY_MS) return;
      if (passedMs > DEADLINE_MS) {
        const reason = `its file systems may still be frozen: run \`virsh domfsthaw ${vmId}\` on ${context.hostName}`;
        throw new UnderstudyError('freeze-failed', { vm: vmId, reason }, error);
      }
    }
    await clock.sleep(RETRY_MS, UNABORTED);
  }
}

/** What is off is not frozen. */
export function isOver(error: unknown): boolean {
  return hasCode(error, 'vm-missing') || saysNotRunning(error);
}

/** A guest without an agent cannot have been frozen by one; an agent that says no holds nothing. One that is silent may. */
function wasNeverHeld(error: unknown): boolean {
  if (hasCode(error, 'hypervisor-refused')) return true;
  return hasCode(error, 'guest-not-answering') && AGENT_ABSENT.test(String(error.details.reason));
}

const AGENT_ABSENT = /guest agent is not con(?:nected|figured)/i;
