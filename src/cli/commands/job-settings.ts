/** What `job create` and `job change` are told in the same words. */
import type { ChangeJobRequest, CreateJobRequest } from '../../contract/job.ts';
import { usageFailure } from '../failure.ts';
import { parseBytes, parseNetworks, parseSeconds } from '../quantities.ts';

/** As the command line has them. */
export type JobSettings = {
  readonly rpo?: string;
  readonly window?: readonly string[];
  readonly keep?: string;
  readonly keepTier?: readonly string[];
  readonly quiesce?: 'never' | 'if-possible' | 'required';
  readonly network?: readonly string[];
  readonly limit?: string;
  readonly archive?: string;
  readonly scratchQuota?: string;
  readonly scratchReserve?: string;
  readonly scratchDeadline?: string;
  readonly testEvery?: string;
  readonly probe?: readonly string[];
  readonly answers?: readonly string[];
  readonly dryRun?: boolean;
};

type Plain = Pick<
  ChangeJobRequest & CreateJobRequest,
  'rpoSeconds' | 'quiesce' | 'networkMap' | 'bytesPerSecondMax' | 'archiveSeconds' | 'scratch'
>;

/** Those that mean the same in both; what was not given is absent. */
export function plainSettings(settings: JobSettings): Plain {
  const { rpo, quiesce, network, limit, archive } = settings;
  return {
    ...(rpo === undefined ? {} : { rpoSeconds: parseSeconds(rpo, '--rpo') }),
    ...(quiesce === undefined ? {} : { quiesce }),
    ...(network === undefined ? {} : { networkMap: parseNetworks(network) }),
    ...(limit === undefined ? {} : { bytesPerSecondMax: sizeOrNone(limit, '--limit') }),
    ...(archive === undefined ? {} : { archiveSeconds: parseSeconds(archive, '--archive') }),
    ...scratchSettings(settings),
  };
}

function scratchSettings(settings: JobSettings): Pick<Plain, 'scratch'> {
  const { scratchQuota: quota, scratchReserve: reserve, scratchDeadline: deadline } = settings;
  const scratch = {
    ...(quota === undefined ? {} : { quotaBytes: sizeOrNone(quota, '--scratch-quota') }),
    ...(reserve === undefined ? {} : { reserveBytes: parseBytes(reserve, '--scratch-reserve') }),
    ...(deadline === undefined
      ? {}
      : { deadlineMs: parseSeconds(deadline, '--scratch-deadline') * 1000 }),
  };
  return Object.keys(scratch).length === 0 ? {} : { scratch };
}

function sizeOrNone(text: string, option: string): number | null {
  return text === 'none' ? null : parseBytes(text, option);
}

/** The name of a VM may hold anything, also an equals sign; an address does not begin before `tcp:` or `http:`. */
export function parseAnswers(text: string): NonNullable<CreateJobRequest['answers']>[number] {
  const [, vm, at] = /^(?:(.+)=)?((?:tcp|http):.*)$/s.exec(text) ?? [];
  if (at !== undefined) return vm === undefined ? { at } : { vm, at };
  throw usageFailure(
    `--answers ${text} is no address: write tcp:10.0.0.5:22, or VM=tcp:10.0.0.5:22.`,
  );
}
