/** How people write what a first run is compared with: `vm:NAME`, `replica:NAME`, or a disk and its file. */
import type { SeedOfVmRequest, SeedRequest } from '../contract/seed.ts';
import { usageFailure } from './failure.ts';

const FORMS =
  'vm:NAME, replica:NAME, or DISK:/PATH for each disk, such as vda:/srv/seed/web-01.qcow2';

/** `web-01=vda:/srv/seed/web-01.qcow2`. A VM with "=" in its name is named by its UUID. */
export function parseSeedOfVm(text: string): SeedOfVmRequest {
  const at = text.indexOf('=');
  if (at < 1) throw usageFailure(`--seed takes VM=SEED, where SEED is ${FORMS}; not "${text}".`);
  return { vm: text.slice(0, at), from: parseSeed(text.slice(at + 1)) };
}

/** Several words are several disks. */
export function parseSeeds(words: readonly string[]): SeedRequest {
  const [first, ...others] = words.map(parseSeed);
  if (first === undefined) throw usageFailure(`Name a seed: ${FORMS}; or --none.`);
  if (others.length === 0) return first;
  const files = [first, ...others].flatMap((seed) => (seed.type === 'files' ? seed.files : []));
  if (files.length === words.length) return { type: 'files', files };
  throw usageFailure('There can be one VM, or one replica, or files of several disks.');
}

function parseSeed(text: string): SeedRequest {
  const at = text.indexOf(':');
  const [kind, value] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  if (kind === '' || value === '') throw usageFailure(`A seed is ${FORMS}; not "${text}".`);
  if (kind === 'vm') return { type: 'vm', vm: value };
  if (kind === 'replica') return { type: 'replica', replica: value };
  if (value.startsWith('/')) return { type: 'files', files: [{ disk: kind, path: value }] };
  throw usageFailure(`A file is named by its whole path on the target host, not "${value}".`);
}
