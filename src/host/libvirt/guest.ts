/** What the guest says of itself through its agent. All of it is the guest's word: parsed, never trusted. */
import { isIP } from 'node:net';
import type { VmId } from '../../domain/ids.ts';
import type { GuestReport } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import { hasCode } from './errors.ts';
import type { Virsh } from './virsh.ts';

const ADDRESSES_MAX = 64;
/** libvirt's words for a definition without the agent's channel. */
const NOT_CONFIGURED = /guest agent is not configured/i;
const NO_ANSWER: unique symbol = Symbol('no answer');

type GuestQuestion = { readonly vmId: VmId; readonly deadlineMs: number };

export async function askGuest(
  virsh: Virsh,
  { vmId, deadlineMs }: GuestQuestion,
  { signal }: CallOptions,
): Promise<GuestReport> {
  const options = { signal, timeoutMs: deadlineMs };
  // In seconds, at least one. It also frees the daemon's channel to the agent when we stop waiting earlier.
  const seconds = String(Math.max(1, Math.ceil(deadlineMs / 1000)));
  const ping = ['qemu-agent-command', '--timeout', seconds, '--', vmId, '{"execute":"guest-ping"}'];
  let hasAgentChannel = true;
  const answer = await unlessSilent(virsh.run(ping, options), (error) => {
    hasAgentChannel = !NOT_CONFIGURED.test(error.message);
  });
  const source = answer === NO_ANSWER ? 'lease' : 'agent';
  const table = await unlessSilent(
    virsh.run(['domifaddr', '--full', '--source', source, '--', vmId], options),
  );
  return {
    agentAnswers: answer !== NO_ANSWER,
    hasAgentChannel,
    addresses: table === NO_ANSWER ? [] : parseAddresses(table),
  };
}

/** Rows end in `ipv4 10.0.0.5/24`; what stands before may be any text the guest likes. Loopback and link-local are left out. */
export function parseAddresses(table: string): string[] {
  const found = new Set<string>();
  for (const line of table.split('\n')) {
    const address = /\sipv[46]\s+([0-9a-f.:]+)\/\d{1,3}\s*$/i.exec(line)?.[1];
    if (address !== undefined && isIP(address) !== 0 && isReachable(address)) found.add(address);
  }
  return [...found].slice(0, ADDRESSES_MAX);
}

function isReachable(address: string): boolean {
  return !/^(?:127\.|169\.254\.|0\.0\.0\.0$|::1?$|fe[89ab])/i.test(address);
}

/** An agent that is silent, absent or hung is an answer; a daemon that is gone, or a VM, is an error. */
async function unlessSilent(
  call: Promise<string>,
  onRefusal: (error: Error) => void = () => undefined,
): Promise<string | typeof NO_ANSWER> {
  try {
    return await call;
  } catch (error) {
    if (hasCode(error, 'guest-not-answering', 'hypervisor-refused', 'vm-busy')) {
      onRefusal(error);
      return NO_ANSWER;
    }
    if (hasCode(error, 'host-unreachable') && hasCode(error.cause, 'timed-out')) return NO_ANSWER;
    throw error;
  }
}
