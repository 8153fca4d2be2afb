/** Makes sure that the end-to-end tests can run, and find their guest built; exit code 3 says, loudly, that they cannot. */
import { ensureGuestImage } from '../rig/guest-image.ts';
import {
  checkRequirements,
  firmwareRequirements,
  installMissing,
  requirements,
} from '../rig/requirements.ts';

const CANNOT_RUN = 3;

const needed = [...requirements, ...firmwareRequirements];
const { missing, isRoot } = checkRequirements(needed);
const log = (line: string) => console.log(line);
if (!isRoot) {
  skip('they need root, to run private libvirt hosts in namespaces of their own');
} else if (missing.length > 0) {
  try {
    await installMissing({ needed, log, signal: new AbortController().signal });
  } catch (error) {
    skip(`packages are missing and could not be installed: ${String(error)}`);
  }
}
await ensureGuestImage({ log });

function skip(because: string): never {
  const bar = '*'.repeat(78);
  console.log(
    `\n${bar}\n** END-TO-END TESTS SKIPPED: ${because}.\n** Only unit and scenario tests were run.\n${bar}`,
  );
  process.exit(CANNOT_RUN);
}
