/**
 * What `virsh` says, as our errors. It has one exit code for everything, so the sentences decide; they are
 * stable under LC_ALL=C (libvirt src/util/virerror.c). Every pattern is anchored to the beginning of a
 * line, because the rest of the line may quote a VM's name, and a name may say anything.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';

/** The daemon is not there, went away, or never let us in: nothing is known about any VM. */
const UNREACHABLE =
  /^(?:failed to connect to the hypervisor|failed to connect socket|unable to connect|cannot recv data|cannot write data|end of file while (?:reading|writing) data|internal error: client socket is closed|internal error: connection closed|disconnected from|failed to reconnect|authentication failed|no valid connection|connection reset by peer|unable to read from socket)/i;

const MISSING = /^domain not found\b/i;

/** What virsh 9 says after any failed look-up, having thrown the reason away: also when the connection broke. */
const LOOKUP_FAILED = /^failed to get domain '/;

/** Another job holds the VM: libvirt waits 30 s for its turn before it says so. */
const BUSY =
  /^(?:timed out during operation: cannot acquire|cannot acquire state change lock|(?:operation failed|internal error|requested operation is not valid|operation not supported): (?:another block job|a block job|domain has active block job|another migration job|another backup job|block job .* active|cannot acquire state change lock))/i;

const AGENT =
  /^(?:guest agent is not responding|guest agent not available|guest agent command timed out|guest agent replied with wrong id|argument unsupported: qemu guest agent)/i;

/** What our hook said, which libvirt quotes at the end of its own sentence. */
const HELD = /^hook script execution failed: .* understudy: (?<reason>.+)$/i;

type Complaint = {
  readonly hostName: string;
  /** The virsh command, e.g. `start`. */
  readonly action: string;
  /** The VM it was about, else null. */
  readonly vm: string | null;
  /** What the program wrote to stderr. */
  readonly stderr: string;
};

/** Throws nothing: the error to throw. `host-unreachable`, `vm-missing`, `vm-busy`, `guest-not-answering`, `start-held`, else `hypervisor-refused`. */
export function virshError({ hostName, action, vm, stderr }: Complaint): UnderstudyError {
  const lines = complaintLines(stderr);
  const reason = cleanReason(lines);
  const says = (pattern: RegExp): boolean => lines.some((line) => pattern.test(line));
  if (says(UNREACHABLE)) return hostUnreachable(hostName, reason);
  const named = vm ?? '?';
  const held = lines.map((line) => HELD.exec(line)?.groups?.reason).find((one) => one);
  if (held !== undefined) {
    const reasonWords = held.replace(/\.$/, '');
    return new UnderstudyError('start-held', { vm: named, host: hostName, reason: reasonWords });
  }
  if (says(MISSING)) return new UnderstudyError('vm-missing', { vm: named, host: hostName });
  if (says(BUSY)) return new UnderstudyError('vm-busy', { vm: named, reason });
  if (says(AGENT)) return new UnderstudyError('guest-not-answering', { vm: named, reason });
  return new UnderstudyError('hypervisor-refused', { action, reason });
}

/** The VM may be missing, or the daemon may have gone while it was looked up: ask again before believing either. */
export function isLookupFailure(stderr: string): boolean {
  return LOOKUP_FAILED.test(complaintLines(stderr).at(-1) ?? '');
}

export function hostUnreachable(host: string, reason: string, cause?: unknown): UnderstudyError {
  return new UnderstudyError('host-unreachable', { host, reason }, cause);
}

export function invalidConfiguration(vm: string, reason: string, cause?: unknown): UnderstudyError {
  return new UnderstudyError('invalid-vm-configuration', { vm, reason }, cause);
}

export function hasCode(error: unknown, ...codes: readonly ErrorCode[]): error is UnderstudyError {
  return error instanceof UnderstudyError && codes.includes(error.code);
}

/** Whether the hypervisor refused with a sentence that matches: for commands whose refusal means "already so". */
export function wasRefusedBecause(error: unknown, pattern: RegExp): boolean {
  return hasCode(error, 'hypervisor-refused') && pattern.test(String(error.details.reason));
}

function complaintLines(stderr: string): string[] {
  return stderr
    .split('\n')
    .map((line) => line.replace(/^error: /, '').trim())
    .filter((line) => line !== '');
}

/** The last line is the cause; the ones before say which command failed, which the reader knows already. */
function cleanReason(lines: readonly string[]): string {
  const reason = lines.at(-1) ?? 'it gave no reason';
  return reason.replace(/\.$/, '').slice(0, 2000);
}
