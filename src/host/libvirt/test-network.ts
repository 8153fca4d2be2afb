/**
 * The network of one test: a bridge that only its VM and our probe are plugged into.
 *
 *     VM ── tap ──┐                        ┌── eth0: an address beside the guest's
 *                 ├── bridge us… ── veth ──┤
 *                 └── the host's end:      └── network namespace us-…: nothing else in it
 *                     deaf and dumb
 *
 * The host has no address on the bridge, answers no ARP there for those it has elsewhere, takes nothing from it that it
 * would not send back the same way (which is nothing), and forwards nothing; so a guest that keeps the addresses of
 * production reaches neither production nor the host. The probe asks from a namespace: guests of several tests may have
 * the same address, and the host's own routes stay as they are. Nothing survives a reboot of the host.
 */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import type { TestId } from '../../ports/test-bench.ts';

export type TestNetwork = {
  readonly bridge: string;
  readonly namespace: string;
  readonly veth: string;
};

/** Names of interfaces have at most 15 bytes (IFNAMSIZ). */
export function testNetworkOf(testId: TestId): TestNetwork {
  const hash = createHash('sha256').update(testId).digest('hex').slice(0, 12);
  return { bridge: `us${hash}`, veth: `uv${hash}`, namespace: `us-${hash}` };
}

/** Null when it is there now; else why this host cannot make one, a sentence part. May be repeated. */
export async function makeTestNetwork(
  processes: Processes,
  { bridge, namespace, veth }: TestNetwork,
  options: CallOptions,
): Promise<string | null> {
  const ip = (...args: string[]) => run(processes, 'ip', args, options);
  const steps: readonly (() => Promise<string | null>)[] = [
    () => ip('link', 'add', 'name', bridge, 'type', 'bridge'),
    () => silenceHost(bridge),
    () => ip('link', 'set', 'dev', bridge, 'up'),
    () => ip('netns', 'add', namespace),
    () =>
      ip('link', 'add', 'name', veth, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace),
    () => ip('link', 'set', 'dev', veth, 'master', bridge, 'up'),
    () => ip('-n', namespace, 'link', 'set', 'dev', 'lo', 'up'),
    () => ip('-n', namespace, 'link', 'set', 'dev', 'eth0', 'up'),
  ];
  for (const step of steps) {
    const complaint = await step();
    if (complaint === null || /File exists/.test(complaint)) continue;
    return `this server cannot make a network of its own there (${complaint})`;
  }
  return null;
}

/** What is left of it, made in part or whole. A missing part is success. Throws `hypervisor-refused`. */
export async function removeTestNetwork(
  processes: Processes,
  { bridge, namespace, veth }: TestNetwork,
  options: CallOptions,
): Promise<void> {
  const parts: readonly (readonly string[])[] = [
    ['netns', 'delete', namespace],
    ['link', 'delete', 'dev', veth],
    ['link', 'delete', 'dev', bridge],
  ];
  for (const args of parts) {
    const complaint = await run(processes, 'ip', args, options);
    if (complaint === null || isNothingThere(complaint)) continue;
    throw new UnderstudyError('hypervisor-refused', {
      action: `remove the test network ${bridge}`,
      reason: complaint,
    });
  }
}

/** Without rights or without the program nothing can ever have been made. */
function isNothingThere(complaint: string): boolean {
  return /No such file|Cannot find device|not permitted|Permission denied|not installed/i.test(
    complaint,
  );
}

/** Linux, Documentation/networking/ip-sysctl.rst. Written while the bridge is still down. */
const SILENT: Readonly<Record<string, string>> = {
  'ipv4/conf/BRIDGE/arp_ignore': '8',
  'ipv4/conf/BRIDGE/rp_filter': '1',
  'ipv4/conf/BRIDGE/forwarding': '0',
  'ipv6/conf/BRIDGE/disable_ipv6': '1',
};

async function silenceHost(bridge: string): Promise<string | null> {
  for (const [name, value] of Object.entries(SILENT)) {
    const path = join('/proc/sys/net', name.replace('BRIDGE', bridge));
    try {
      await writeFile(path, value);
    } catch (error) {
      // A kernel without IPv6 needs no telling.
      const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (isAbsent && name.startsWith('ipv6/')) continue;
      return `${path} cannot be set`;
    }
  }
  return null;
}

/** Null when it worked, else what the program says. */
async function run(
  processes: Processes,
  command: string,
  args: readonly string[],
  options: CallOptions,
): Promise<string | null> {
  try {
    const { exitCode, stderr } = await processes.run({ command, arguments: args }, options);
    if (exitCode === 0) return null;
    return stderr.trim().split('\n').at(-1) ?? `${command} failed`;
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'command-missing') {
      return `the program ${command} (iproute2) is not installed`;
    }
    throw error;
  }
}
