/**
 * The `TestBench` port of a simulated host. A guest is healthy as long as none of its disks holds the token `SICK`:
 * one that does boots, and its agent answers, but its services do not.
 */
import { UnderstudyError } from '../domain/error.ts';
import { type VmId, vmId } from '../domain/ids.ts';
import type { ProbeKind } from '../domain/test-failover/probe.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ProbeAttempt, SetUpTest, TestBench, TestId, TestVm } from '../ports/test-bench.ts';
import type { CallGate, Passing } from './call-gate.ts';
import { readDefinition } from './define-replica.ts';
import { diskAt, sidecarAt } from './files.ts';
import { createGuest } from './guest.ts';
import { requireVm, type SimulatedHost, type Surroundings } from './host.ts';
import { contentOf } from './image.ts';
import { ISOLATED, SimulatedVm } from './vm.ts';

export const SICK = 'sick';

/** A picture of one black dot. */
const PICTURE =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==';
const EVIDENCE_KEPT = 50;

export function createSimulatedTestBench(parts: {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly newVmId: () => VmId;
  readonly gate: CallGate;
}): TestBench {
  const { host, around, gate } = parts;
  const call = <T>(
    method: keyof TestBench,
    options: CallOptions,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> => gate.call({ host, port: 'testBench', method }, options, body);
  return {
    setUp: (request, options) =>
      call('setUp', options, async (passing) => {
        if (host.noTestNetworksBecause === null) host.testNetworks.add(request.testId);
        await passing.moment('network made');
        return defineTest(parts, request);
      }),
    probe: ({ vmId: id, probe, limitMs }, options) =>
      call('probe', options, (passing) => attempt(requireVm(host, id), probe, limitMs, passing)),
    observe: ({ testId, vmId: id }, options) =>
      call('observe', options, () => {
        const vm = requireVm(host, id);
        const text = `${vm.state.name} is ${vm.power}, healthy: ${isHealthy(vm)}\n`;
        const files = new Map([
          ['screen.png', PICTURE],
          ['serial.txt', Buffer.from(text).toString('base64')],
        ]);
        keepEvidence(host, testId, files);
        return {
          files: [...files].map(([name, content]) => ({
            name,
            type: name.endsWith('.png') ? ('image/png' as const) : ('text/plain' as const),
            bytes: Buffer.from(content, 'base64').length,
          })),
          missing: [],
        };
      }),
    tearDown: ({ testId }, options) =>
      call('tearDown', options, async (passing) => {
        const vm = testVm(host, testId);
        if (vm !== null) {
          vm.stop();
          await passing.moment('stopped');
          host.vms.delete(vm.id);
          await passing.moment('undefined');
        }
        host.testNetworks.delete(testId);
      }),
    evidence: ({ testId, name }, options) =>
      call('evidence', options, () => {
        const content = host.evidence.get(testId)?.get(name);
        if (content !== undefined) return content;
        throw new UnderstudyError('evidence-missing', { test: testId, name });
      }),
  };

  function keepEvidence(
    { evidence }: SimulatedHost,
    testId: TestId,
    files: ReadonlyMap<string, string>,
  ): void {
    evidence.set(testId, files);
    for (const old of [...evidence.keys()].slice(0, -EVIDENCE_KEPT)) evidence.delete(old);
  }

  function defineTest({ newVmId }: { readonly newVmId: () => VmId }, request: SetUpTest): TestVm {
    const { testId, source } = request;
    const reason = host.noTestNetworksBecause;
    const isolation =
      reason === null
        ? ({ kind: 'network', because: 'it has a network of its own' } as const)
        : ({ kind: 'unplugged', because: reason } as const);
    const present = testVm(host, testId);
    if (present !== null) return { vmId: present.id, isolation };
    const id = vmId(newVmId());
    const { identity, guest } = readDefinition(source.configuration.text);
    const vm = new SimulatedVm({
      host,
      around,
      state: {
        id,
        name: request.name,
        memoryBytes: source.memoryBytes,
        cpuCount: source.cpuCount,
        disks: request.disks.map((disk) => ({
          ...disk,
          sizeBytes: diskAt(around.files, disk.path)?.sizeBytes ?? 0,
          unsupportedBecause: null,
        })),
        nics: source.nics.map(({ mac }) => ({
          mac,
          network: `${ISOLATED}${testId}`,
          isConnected: reason === null,
        })),
        definition: source.configuration.text,
        hasSavedState: false,
        sidecars: new Map(
          request.sidecars.map(({ name, path }) => [name, sidecarAt(around.files, path)] as const),
        ),
        guest: createGuest(guest),
        replicaId: null,
        testId,
        identity: identity ?? source.id,
      },
    });
    host.vms.set(id, vm);
    return { vmId: id, isolation };
  }
}

function testVm(host: SimulatedHost, testId: TestId): SimulatedVm | null {
  for (const vm of host.vms.values()) if (vm.state.testId === testId) return vm;
  return null;
}

async function attempt(
  vm: SimulatedVm,
  { type }: ProbeKind,
  limitMs: number,
  passing: Passing,
): Promise<ProbeAttempt> {
  const bootMs = vm.bootsInMs();
  await passing.spend(Math.min(bootMs ?? limitMs, limitMs));
  if (vm.bootsInMs() !== 0) return { passed: false, why: 'the guest does not answer' };
  if (type === 'agent' || type === 'command') {
    if (vm.answersInMs() === null) return { passed: false, why: 'the guest has no agent' };
    if (type === 'agent') return { passed: true, why: 'the guest agent answered' };
  }
  return isHealthy(vm)
    ? { passed: true, why: type === 'command' ? 'it ended with 0' : 'it was answered' }
    : { passed: false, why: type === 'command' ? 'it ended with 1' : 'the connection was refused' };
}

function isHealthy(vm: SimulatedVm): boolean {
  return vm.openImages().every((image) => ![...contentOf(image).values()].includes(SICK));
}
