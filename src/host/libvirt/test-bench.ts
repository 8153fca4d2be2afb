/** The test bench on libvirt: copies of protected VMs on networks of their own (test-network.ts). */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { Isolation } from '../../domain/test-failover/point-test.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Processes } from '../../ports/processes.ts';
import type { SetUpTest, TestBench, TestId } from '../../ports/test-bench.ts';
import { readDomain } from './domain-xml.ts';
import { hasCode } from './errors.ts';
import { readDefinitionAndFlags, type VmFlags } from './inspect.ts';
import { powerOffVm } from './power.ts';
import type { TargetTraits } from './replica-xml.ts';
import { placeTpm, type SidecarTools } from './sidecars.ts';
import {
  boundConsole,
  collectEvidence,
  type EvidencePlace,
  prepareEvidence,
  rawConsolePath,
  readEvidence,
  releaseEvidence,
} from './test-evidence.ts';
import { makeTestNetwork, removeTestNetwork, testNetworkOf } from './test-network.ts';
import { probeTest } from './test-probe.ts';
import { readTestMark, testVmId, testXml } from './test-xml.ts';
import type { Virsh } from './virsh.ts';

export type TestBenchSettings = SidecarTools & {
  readonly virsh: Virsh;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly storageFolder: string;
  /** What the host offers, as replicas are defined by. */
  readonly traits: (options: CallOptions) => Promise<TargetTraits>;
  /** The program that asks a guest from beside it (main/probe.ts). */
  readonly probeProgram: readonly string[];
};

export function createLibvirtTestBench(settings: TestBenchSettings): TestBench {
  const { virsh, processes, storageFolder } = settings;
  const placeOf = (testId: TestId): EvidencePlace => ({ storageFolder, testId });
  const probeTools = { ...settings, program: settings.probeProgram };
  return {
    async setUp(request, options) {
      const vmId = testVmId(request.testId);
      const present = await load(virsh, vmId, request.testId, options);
      if (present !== null && present.flags.power !== 'off') {
        return { vmId, isolation: isolationOf(present.definition, request.testId) };
      }
      return { vmId, isolation: await setUpTest(settings, request, options) };
    },
    async probe(request, options) {
      const { testId, vmId } = request;
      await boundConsole(placeOf(testId));
      const present = await load(virsh, vmId, testId, options);
      if (present === null) {
        throw new UnderstudyError('vm-missing', { vm: vmId, host: virsh.hostName });
      }
      const { kind } = isolationOf(present.definition, testId);
      const network = kind === 'network' ? testNetworkOf(testId) : null;
      return probeTest(probeTools, request, network, options);
    },
    observe: ({ testId, vmId }, options) => collectEvidence(virsh, placeOf(testId), vmId, options),
    async tearDown({ testId }, options) {
      await removeVm(virsh, testId, options);
      await removeTestNetwork(processes, testNetworkOf(testId), options);
      await releaseEvidence(placeOf(testId));
    },
    evidence: ({ testId, name }) => readEvidence(placeOf(testId), name),
  };
}

/** The network first: a VM that is defined can be started by hand, and must be cut off from the first moment. */
async function setUpTest(
  settings: TestBenchSettings,
  request: SetUpTest,
  options: CallOptions,
): Promise<Isolation> {
  const { virsh, processes, storageFolder } = settings;
  const { testId } = request;
  const network = testNetworkOf(testId);
  const refusal = isSession(virsh)
    ? 'a session daemon cannot plug a VM into a network of its own'
    : await makeTestNetwork(processes, network, options);
  const place = { storageFolder, testId };
  await prepareEvidence(place);
  const text = testXml({
    request,
    target: await settings.traits(options),
    bridge: refusal === null ? network.bridge : null,
    consolePath: rawConsolePath(place),
  });
  await placeTpm(settings, { sidecars: request.sidecars, vmId: testVmId(testId), text }, options);
  await virsh.run(['define', { file: text }], options);
  return refusal === null ? ISOLATED : { kind: 'unplugged', because: refusal };
}

const ISOLATED: Isolation = {
  kind: 'network',
  because: 'it is alone on a network of its own, which the host takes no part in',
};

/** Read from the definition, so that it is true also of a test that was set up by an earlier life. */
function isolationOf(definition: string, testId: TestId): Isolation {
  const { nics } = readDomain(definition, testId);
  const { bridge } = testNetworkOf(testId);
  const isOnBridge = nics.some(({ network }) => network === `bridge:${bridge}`);
  if (isOnBridge) return ISOLATED;
  const because = nics.length === 0 ? 'the VM has no NIC' : 'no network of its own could be made';
  return { kind: 'unplugged', because };
}

function isSession({ uri }: Virsh): boolean {
  return /^[^?]*\/session(?:\?|$)/.test(uri);
}

type Present = { readonly definition: string; readonly flags: VmFlags };

/** Null when there is none. Throws `name-taken` for a VM of that UUID that is none of ours. */
async function load(
  virsh: Virsh,
  vmId: VmId,
  testId: TestId,
  options: CallOptions,
): Promise<Present | null> {
  try {
    const present = await readDefinitionAndFlags(virsh, vmId, options);
    if (readTestMark(present.definition, vmId) === testId) return present;
  } catch (error) {
    if (hasCode(error, 'vm-missing')) return null;
    throw error;
  }
  throw new UnderstudyError('name-taken', { what: 'VM', name: vmId });
}

/** Its disks and firmware variables are of the branch, which its owner removes. */
async function removeVm(virsh: Virsh, testId: TestId, options: CallOptions): Promise<void> {
  const vmId = testVmId(testId);
  if ((await load(virsh, vmId, testId, options)) === null) return;
  try {
    await powerOffVm(virsh, vmId, options);
    const remains = ['--managed-save', '--nvram', '--snapshots-metadata', '--checkpoints-metadata'];
    await virsh.run(['undefine', ...remains, '--', vmId], options);
  } catch (error) {
    if (!hasCode(error, 'vm-missing')) throw error;
  }
}
