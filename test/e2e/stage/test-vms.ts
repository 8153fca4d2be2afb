/**
 * VMs of test failovers, looked at past the product: what libvirt, the kernel's network, the process list and the storage
 * folder say of them. Their networks are on the machine itself, where other files have theirs.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { testNetworkOf } from '../../../src/host/libvirt/test-network.ts';
import { run } from '../../../src/rig/command.ts';
import { type LedgerState, parseLedgerState } from '../../../src/rig/ledger-client.ts';
import { commandLineOf, listProcesses } from '../../../src/rig/processes.ts';
import { until } from '../../../src/rig/until.ts';
import type { Stage } from './open-stage.ts';

type Site = Pick<Stage, 'recovery' | 'storageFolder'>;

export interface TestVmSeen {
  readonly uuid: string;
  readonly testId: string;
  readonly name: string;
  /** Undefined: it is off. */
  readonly pid: number | undefined;
}

/** Those that are defined now, in the order of their names. */
export async function testVms({ recovery }: Site): Promise<readonly TestVmSeen[]> {
  const uuids = (await recovery.virsh(['list', '--all', '--uuid'])).split('\n').filter(Boolean);
  const seen: TestVmSeen[] = [];
  for (const uuid of uuids) {
    const xml = await recovery.virsh(['dumpxml', '--domain', uuid]).catch(() => ''); // gone since
    const [, testId] = /<understudy:test [^>]*\bid="([^"]+)"/.exec(xml) ?? [];
    const [, name = ''] = /<name>([^<]*)<\/name>/.exec(xml) ?? [];
    if (testId !== undefined) seen.push({ uuid, testId, name, pid: recovery.qemuPid(uuid) });
  }
  return seen.toSorted((a, b) => a.name.localeCompare(b.name));
}

/** Until so many run at once. */
export function untilTestsRun(site: Site, count: number): Promise<readonly TestVmSeen[]> {
  return until(`${count} test VMs run at once`, async () => {
    const running = (await testVms(site)).filter(({ pid }) => pid !== undefined);
    return running.length === count ? running : undefined;
  });
}

/** Asks the ledger of the guest from beside it, on the network of its test; a probe has taken an address there before. */
export async function ledgerBeside(
  { recovery }: Site,
  { uuid, testId }: TestVmSeen,
): Promise<LedgerState> {
  const told = await recovery.virsh(['domifaddr', '--domain', uuid, '--source', 'agent']);
  const [, address] = /\s(10\.77\.\d+\.\d+)\//.exec(told) ?? [];
  assert.ok(address, told);
  const network = `--net=/run/netns/${testNetworkOf(testId).namespace}`;
  const ask =
    'fetch(process.argv[1]).then((told) => told.text()).then((text) => process.stdout.write(text))';
  const url = `http://${address}:8080/`;
  const answer = await run('nsenter', [network, '--', process.execPath, '-e', ask, url]);
  return parseLedgerState(JSON.parse(answer));
}

/** Sentences about VMs, networks, processes and files of these tests; empty when nothing is left. */
export async function leftOfTests(
  site: Site,
  replicaId: string,
  testIds: readonly string[],
): Promise<readonly string[]> {
  const vms = (await testVms(site)).map(({ name }) => `VM ${name}`);
  const networks = await Promise.all(testIds.map(leftOfNetwork));
  const branches = await readdir(join(site.storageFolder, replicaId, 'branches')).catch(() => []);
  const evidence = join(site.storageFolder, '.evidence');
  const raw = await readdir(evidence, { recursive: true }).catch(() => []);
  return [
    ...vms,
    ...networks.flat(),
    ...branchReaders(site.storageFolder).map((pid) => `QEMU ${pid}`),
    ...branches.map((branch) => `branch ${branch}`),
    ...raw.filter((name) => name.endsWith('.raw')).map((name) => `evidence ${name}`),
  ];
}

async function leftOfNetwork(testId: string): Promise<readonly string[]> {
  const { bridge, veth, namespace } = testNetworkOf(testId);
  const links = await run('ip', ['-br', 'link']);
  const spaces = await run('ip', ['netns', 'list']);
  return [
    ...[bridge, veth].filter((name) => links.includes(name)),
    ...(spaces.includes(namespace) ? [namespace] : []),
  ];
}

/** QEMU names the disks of a branch on its command line. */
function branchReaders(storageFolder: string): readonly number[] {
  const isOfBranch = (argument: string) =>
    argument.includes(`${storageFolder}/`) && argument.includes('/branches/');
  return listProcesses().filter((pid) => {
    const [program = '', ...args] = commandLineOf(pid);
    return program.includes('qemu-') && args.some(isOfBranch);
  });
}
