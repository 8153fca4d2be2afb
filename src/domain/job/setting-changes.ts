/** In what two states of a job differ, in words, and from when on that counts. Pure. */
import { formatBytes } from '../bytes.ts';
import { formatDuration } from '../duration.ts';
import { formatAddressProbe } from '../failover/address-probe.ts';
import { formatWindows } from '../replication/window.ts';
import type { RetentionPolicy } from '../restore-point/retention.ts';
import { formatProbe } from '../test-failover/probe.ts';
import type { Job } from './job.ts';

/** Everything is for people. */
export type SettingChange = {
  readonly setting: string;
  readonly from: string;
  readonly to: string;
  /** From when on, as a sentence part. */
  readonly takesEffect: string;
};

type Setting = {
  readonly name: string;
  readonly words: (job: Job) => string;
  readonly takesEffect: string;
};

const AT_ONCE = 'at once';
const PLANNED = 'at once: the next runs are planned with it';
const NEXT_RUN = 'at the next run; one that is under way goes on as it began';
const NEXT_TEST = 'at once: the next test is planned with it';

const SETTINGS: readonly Setting[] = [
  { name: 'name', words: ({ name }) => name, takesEffect: AT_ONCE },
  { name: 'RPO', words: (job) => formatDuration(job.rpoSeconds), takesEffect: PLANNED },
  {
    name: 'schedule',
    words: ({ isScheduled }) => (isScheduled ? 'by the clock' : 'by hand only'),
    takesEffect: PLANNED,
  },
  {
    name: 'windows',
    words: ({ windows }) => formatWindows(windows) || 'at any time',
    takesEffect: PLANNED,
  },
  {
    name: 'keep',
    words: ({ retention }) => retentionWords(retention),
    takesEffect: 'at the end of the next run of each VM',
  },
  { name: 'quiesce', words: ({ quiesce }) => quiesce, takesEffect: NEXT_RUN },
  {
    name: 'limit',
    words: (job) => sizeOr(job.bytesPerSecondMax, 'none', '/s'),
    takesEffect: NEXT_RUN,
  },
  {
    name: 'archive',
    words: ({ archiveSeconds }) => formatDuration(archiveSeconds),
    takesEffect: 'for failovers that are undone from now on; archives keep their time',
  },
  {
    name: 'scratch quota',
    words: ({ scratch }) => sizeOr(scratch.quotaBytes, 'half of what is free'),
    takesEffect: NEXT_RUN,
  },
  {
    name: 'scratch reserve',
    words: ({ scratch }) => formatBytes(scratch.reserveBytes),
    takesEffect: NEXT_RUN,
  },
  {
    name: 'scratch deadline',
    words: ({ scratch }) => formatDuration(scratch.deadlineMs / 1000),
    takesEffect: NEXT_RUN,
  },
  { name: 'tests', words: testingWords, takesEffect: NEXT_TEST },
];

/** `serving`: names of replicas that stand in at the moment; they keep the networks that they were started with. */
export function settingChanges(
  before: Job,
  after: Job,
  serving: readonly string[],
): readonly SettingChange[] {
  const plain = SETTINGS.map(({ name, words, takesEffect }) => ({
    setting: name,
    from: words(before),
    to: words(after),
    takesEffect,
  }));
  const all = [
    ...plain,
    ...networkChanges(before, after, serving),
    ...answerChanges(before, after),
  ];
  return all.filter(({ from, to }) => from !== to);
}

function networkChanges(
  { networkMap: before }: Job,
  { networkMap: after }: Job,
  serving: readonly string[],
): readonly SettingChange[] {
  const keeps = serving.length === 0 ? '' : `; ${serving.join(', ')} stands in and keeps its own`;
  const takesEffect = `at the next failover, and in the replica VM at rest by the next run${keeps}`;
  const networks = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...networks].sort().map((network) => ({
    setting: `network ${network}`,
    from: networkWords(before, network),
    to: networkWords(after, network),
    takesEffect,
  }));
}

function networkWords(map: Job['networkMap'], network: string): string {
  const to = Object.hasOwn(map, network) ? map[network] : network;
  return to ?? 'disconnected';
}

function answerChanges(before: Job, after: Job): readonly SettingChange[] {
  return after.vms.map(({ vmId, name, answersAt }) => ({
    setting: `answers of ${name}`,
    from: answersWords(before.vms.find((vm) => vm.vmId === vmId)?.answersAt),
    to: answersWords(answersAt),
    takesEffect: 'at the next failover, hop or switchover',
  }));
}

function answersWords(at: Job['vms'][number]['answersAt'] = []): string {
  return at.map(formatAddressProbe).join(', ') || 'its agent alone';
}

function retentionWords({ keepLast, tiers }: RetentionPolicy): string {
  const words = tiers.map(
    ({ everySeconds, forSeconds }) =>
      `one per ${formatDuration(everySeconds)} for ${formatDuration(forSeconds)}`,
  );
  return [`the newest ${keepLast}`, ...words].join(', ');
}

function testingWords({ testing }: Job): string {
  if (testing === null) return 'by hand only';
  const probes = testing.probes.map(formatProbe).join(', ') || 'nothing';
  return `every ${formatDuration(testing.everySeconds)}: ${probes}`;
}

function sizeOr(bytes: number | null, none: string, suffix = ''): string {
  return bytes === null ? none : `${formatBytes(bytes)}${suffix}`;
}
