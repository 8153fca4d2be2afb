/** What a request does not fit is named as the person wrote it: by option and in its unit, not by field of the body. */
import type { ProblemAnswer } from '../contract/problem.ts';
import { formatBytes, formatSeconds } from './format.ts';

/** Fields whose option has another name; of others the name is enough of a hint. */
const WRITTEN_AS: Readonly<Record<string, string>> = {
  address: '--uri',
  storageFolder: '--storage',
  scratchFolder: '--scratch',
  storageReserveBytes: '--storage-reserve',
  transferSlots: '--slots',
  testSlots: '--tests',
  hooksFolder: '--hooks',
  rpoSeconds: '--rpo',
  windows: '--window',
  'retention.keepLast': '--keep',
  'retention.tiers': '--keep-tier',
  networkMap: '--network',
  bytesPerSecondMax: '--limit',
  replicaSuffix: '--suffix',
  archiveSeconds: '--archive',
  'scratch.quotaBytes': '--scratch-quota',
  'scratch.reserveBytes': '--scratch-reserve',
  'scratch.deadlineMs': '--scratch-deadline',
  'testing.everySeconds': '--test-every',
  'testing.probes': '--probe',
  probes: '--probe',
  vms: '--vm',
  points: '--point',
  answers: '--answers',
  passesMax: '--passes',
  lastDeltaMsMax: '--last-delta',
  shutdownDeadlineMs: '--shutdown-deadline',
  holdSeconds: '--hold',
  reason: '--reason',
  'to.name': '--name',
  'to.vm': '--copy',
  'to.host': '--host',
  limit: '--limit',
};

type Violation = NonNullable<ProblemAnswer['violations']>[number];

/** `--rpo: must be at least 1m` for `body.rpoSeconds: must be at least 60`. */
export function violationWords({ path, message }: Violation): string {
  const field = path.replace(/^(?:body|query|path)\.?/, '');
  const text = message.replace(/\d+\.?$/, (figure) => withUnit(field, Number.parseInt(figure, 10)));
  return `${optionOf(field) ?? (field || path)}: ${text.replace(/\.$/, '')}.`;
}

/** Of `retention.tiers.0` as of `retention.tiers`. */
function optionOf(field: string): string | undefined {
  const name = Object.keys(WRITTEN_AS).find((key) => field === key || field.startsWith(`${key}.`));
  return name === undefined ? undefined : WRITTEN_AS[name];
}

function withUnit(field: string, figure: number): string {
  if (/Ms(?:Max)?$/.test(field)) return formatSeconds(figure / 1000);
  if (/Seconds$/.test(field)) return formatSeconds(figure);
  if (/^bytes|Bytes$/.test(field)) return formatBytes(figure);
  return String(figure);
}
