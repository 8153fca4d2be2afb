/** Makes sure that the end-to-end tests can run; exit code 3 says, loudly, that they cannot. */
import { checkRequirements, installMissing } from '../rig/requirements.ts';

const CANNOT_RUN = 3;

const { missing, isRoot } = await checkRequirements();
if (!isRoot) {
  skip('they need root, to run private libvirt hosts in namespaces of their own');
} else if (missing.length > 0) {
  try {
    await installMissing({
      log: (line) => console.log(line),
      signal: new AbortController().signal,
    });
  } catch (error) {
    skip(`packages are missing and could not be installed: ${String(error)}`);
  }
}

function skip(because: string): never {
  const bar = '*'.repeat(78);
  console.log(
    `\n${bar}\n** END-TO-END TESTS SKIPPED: ${because}.\n** Only unit and scenario tests were run.\n${bar}`,
  );
  process.exit(CANNOT_RUN);
}
