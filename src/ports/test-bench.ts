import type { BranchId, DiskKey, OperationKey, ReplicaId, VmId } from '../domain/ids.ts';
import type { EvidenceFile, Isolation } from '../domain/test-failover/point-test.ts';
import type { ProbeKind } from '../domain/test-failover/probe.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { Sidecar } from './hypervisor.ts';

/** Letters, digits and dashes; fresh for every test, so that nothing of one test is ever taken for another's. */
export type TestId = string;

export type TestCommand = { readonly key: OperationKey; readonly testId: TestId };

export type SetUpTest = TestCommand & {
  readonly replicaId: ReplicaId;
  /** The branch that the disks are on; for people who look at the definition. */
  readonly branchId: BranchId;
  readonly name: string;
  /** The source as it was at the restore point: its definition is the template. */
  readonly source: VmDescription;
  readonly disks: readonly {
    readonly key: DiskKey;
    readonly path: string;
    readonly format: 'qcow2';
  }[];
  readonly sidecars: readonly Sidecar[];
};

export type TestVm = { readonly vmId: VmId; readonly isolation: Isolation };

export type ProbeTest = TestCommand & {
  readonly vmId: VmId;
  readonly probe: ProbeKind;
  /** For this one attempt. */
  readonly limitMs: number;
};

/** One attempt. Not passed says nothing about the next attempt. `why` is a sentence part for people. */
export type ProbeAttempt = { readonly passed: boolean; readonly why: string };

export type ObservedTest = {
  readonly files: readonly EvidenceFile[];
  /** Why there is no picture, or no text: sentences. */
  readonly missing: readonly string[];
};

/**
 * Runs copies of protected VMs where they can do no harm: each test is a VM with a UUID of its own on a network of its own,
 * to which no other machine is plugged in, not even the host. All of a test is found by its id, so that every command may
 * be repeated and nothing is ever left. Started, and asked for its power, by `Hypervisor` like any VM.
 *
 * Every method may throw `host-unreachable`.
 */
export interface TestBench {
  /**
   * Makes the isolated network and defines the VM on it: MACs kept, no autostart, off. Where the host can make no such
   * network every NIC's link is down, and the answer says so. An existing test of the same id is the answer.
   */
  setUp(request: SetUpTest, options: CallOptions): Promise<TestVm>;

  /** Asks the guest once. A guest that does not answer is an attempt that did not pass. */
  probe(request: ProbeTest, options: CallOptions): Promise<ProbeAttempt>;

  /** Keeps what the screen shows and what the serial console said, now; a repetition replaces it. */
  observe(
    command: TestCommand & { readonly vmId: VmId },
    options: CallOptions,
  ): Promise<ObservedTest>;

  /** Switches the VM off and removes everything of the test but its evidence. A missing one is success. */
  tearDown(command: TestCommand, options: CallOptions): Promise<void>;

  /**
   * One file of evidence as base64; kept for the newest tests only, for a bounded time. Throws `evidence-missing`.
   */
  evidence(
    file: { readonly testId: TestId; readonly name: string },
    options: CallOptions,
  ): Promise<string>;
}
