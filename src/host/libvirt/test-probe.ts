/**
 * One question to the guest of a test VM. On its isolated network it is asked from the namespace beside it, as a client
 * would; unplugged, it is asked from inside, through its agent, with what the guest has for that.
 */
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Processes } from '../../ports/processes.ts';
import type { ProbeAttempt, ProbeTest } from '../../ports/test-bench.ts';
import { askInside, type NetworkProbe } from './ask-inside.ts';
import { hasCode } from './errors.ts';
import { askAgent, execInGuest } from './guest-exec.ts';
import { readPower } from './inspect.ts';
import { type GuestAddress, neighbourOf, parseGuestAddresses } from './test-addresses.ts';
import type { TestNetwork } from './test-network.ts';
import type { Virsh } from './virsh.ts';

export type ProbeTools = {
  readonly virsh: Virsh;
  readonly clock: Clock;
  readonly processes: Processes;
  /** A program of ours that asks one question from where it runs and prints a `ProbeAttempt`. */
  readonly program: readonly string[];
};

/** `network` null: the VM is unplugged. */
export async function probeTest(
  tools: ProbeTools,
  request: ProbeTest,
  network: TestNetwork | null,
  options: CallOptions,
): Promise<ProbeAttempt> {
  const power = await readPower(tools.virsh, request.vmId, options);
  if (power !== 'running') return failed(`the VM is ${power}`);
  const { probe } = request;
  switch (probe.type) {
    case 'agent':
      return probeAgent(tools, request, options);
    case 'command':
      return runInGuest(tools, request, [probe.program, ...probe.arguments], options);
    case 'tcp':
    case 'http':
      return network === null
        ? askInside(tools, request, probe, options)
        : askBeside(tools, request, { probe, network }, options);
  }
}

async function probeAgent(
  { virsh }: ProbeTools,
  { vmId }: ProbeTest,
  options: CallOptions,
): Promise<ProbeAttempt> {
  const answer = await askAgent(virsh, vmId, { execute: 'guest-ping' }, options);
  return typeof answer === 'string'
    ? failed(answer)
    : { passed: true, why: 'the guest agent answered' };
}

async function runInGuest(
  tools: ProbeTools,
  { vmId, limitMs }: ProbeTest,
  [program = '', ...args]: readonly string[],
  options: CallOptions,
): Promise<ProbeAttempt> {
  const exit = await execInGuest(tools, { vmId, program, arguments: args, limitMs }, options);
  if (exit.type === 'none') return failed(exit.why);
  if (exit.type === 'unended') return failed(`${program} has not ended after ${limitMs} ms`);
  const said = exit.output === '' ? '' : ` and said: ${exit.output.split('\n').at(-1)}`;
  return { passed: exit.code === 0, why: `${program} ended with ${exit.code}${said}` };
}

/** From the namespace on the test's bridge, with an address beside each of the guest's. */
async function askBeside(
  tools: ProbeTools,
  { vmId, limitMs }: ProbeTest,
  { probe, network }: { readonly probe: NetworkProbe; readonly network: TestNetwork },
  options: CallOptions,
): Promise<ProbeAttempt> {
  const addresses = await guestAddresses(tools, vmId, options);
  if (typeof addresses === 'string') return failed(addresses);
  let last = failed('the guest has no IPv4 address yet');
  for (const guest of addresses) {
    const own = neighbourOf(guest);
    if (own === null) {
      last = failed(`the network of ${guest.address}/${guest.prefix} has no room beside it`);
      continue;
    }
    const { namespace } = network;
    const placed = await tools.processes.run(
      {
        command: 'ip',
        arguments: ['-n', namespace, 'addr', 'replace', `${own}/${guest.prefix}`, 'dev', 'eth0'],
      },
      options,
    );
    if (placed.exitCode !== 0) return failed(`its network is gone: ${placed.stderr.trim()}`);
    const question = { ...probe, address: guest.address, limitMs };
    last = await askFrom(tools, namespace, question, options);
    if (last.passed) return last;
  }
  return last;
}

async function askFrom(
  { processes, program }: ProbeTools,
  namespace: string,
  question: object & { readonly limitMs: number },
  options: CallOptions,
): Promise<ProbeAttempt> {
  const command = {
    command: 'nsenter',
    arguments: [`--net=/run/netns/${namespace}`, '--', ...program, JSON.stringify(question)],
    timeoutMs: question.limitMs + 15_000,
  };
  const { exitCode, stdout, stderr } = await processes.run(command, options);
  if (exitCode !== 0) return failed(`it could not be asked: ${stderr.trim().split('\n').at(-1)}`);
  const { passed, why } = JSON.parse(stdout) as ProbeAttempt;
  return { passed: passed === true, why: String(why) };
}

async function guestAddresses(
  { virsh }: ProbeTools,
  vmId: ProbeTest['vmId'],
  options: CallOptions,
): Promise<readonly GuestAddress[] | string> {
  try {
    const args = ['domifaddr', '--full', '--source', 'agent', '--', vmId];
    return parseGuestAddresses(await virsh.run(args, options));
  } catch (error) {
    if (hasCode(error, 'guest-not-answering', 'hypervisor-refused', 'vm-busy')) {
      return 'its address is not known, because the guest agent does not answer';
    }
    if (hasCode(error, 'host-unreachable') && hasCode(error.cause, 'timed-out')) {
      return 'its address is not known, because the guest agent does not answer';
    }
    throw error;
  }
}

function failed(why: string): ProbeAttempt {
  return { passed: false, why };
}
