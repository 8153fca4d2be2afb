/**
 * Changing what a job was made with, without making it anew: what is asked for, and what the job is then.
 * Where it replicates from and to, and which VMs, is what makes it this job, and stays. Pure.
 */
import type { AddressProbe } from '../failover/address-probe.ts';
import type { VmId } from '../ids.ts';
import type { RetentionPolicy } from '../restore-point/retention.ts';
import { parseProbe } from '../test-failover/probe.ts';
import type { Job, ScratchPolicy, TestingPolicy } from './job.ts';

/** What is absent stays. */
export type JobChange = Partial<
  Pick<
    Job,
    | 'name'
    | 'rpoSeconds'
    | 'isScheduled'
    | 'windows'
    | 'quiesce'
    | 'bytesPerSecondMax'
    | 'archiveSeconds'
  >
> & {
  readonly retention?: Partial<RetentionPolicy>;
  readonly scratch?: Partial<ScratchPolicy>;
  /** Laid over the map that there is; null takes the NIC off. */
  readonly networks?: Job['networkMap'];
  /** Null: only by hand from now on. */
  readonly testing?: Partial<TestingPolicy> | null;
  /** Of each VM that is named all its addresses; none: its agent alone. */
  readonly answers?: readonly { readonly vmId: VmId; readonly at: readonly AddressProbe[] }[];
};

/** `testing` of a job that had none needs a period; null: there is none. */
export function changedJob(job: Job, change: JobChange): Job | null {
  const { retention, scratch, networks, testing, answers = [], ...plain } = change;
  const policy = changedTesting(job.testing, testing);
  if (policy === 'no-period') return null;
  return {
    ...job,
    ...plain,
    retention: { ...job.retention, ...retention },
    scratch: { ...job.scratch, ...scratch },
    networkMap: { ...job.networkMap, ...networks },
    testing: policy,
    vms: job.vms.map(({ answersAt, ...vm }) => {
      const at = answers.find(({ vmId }) => vmId === vm.vmId)?.at ?? answersAt ?? [];
      return at.length === 0 ? vm : { ...vm, answersAt: at };
    }),
  };
}

function changedTesting(
  before: TestingPolicy | null,
  change: JobChange['testing'],
): TestingPolicy | null | 'no-period' {
  if (change === undefined) return before;
  if (change === null) return null;
  const everySeconds = change.everySeconds ?? before?.everySeconds;
  if (everySeconds === undefined) return 'no-period';
  return { everySeconds, probes: change.probes ?? before?.probes ?? [parseProbe('agent')] };
}
