/**
 * `node test/scenarios/run.ts [--update] [NAME…]`: plays stories and compares them with their golden logs; without names
 * all of them. A name may be a folder, or the beginning of a name. `--update` writes the logs anew; read the difference in git.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { difference } from './stage/difference.ts';
import { playStory } from './stage/play.ts';
import { goldenPath, readStory, storyNames } from './stage/story.ts';

const { values, positionals } = parseArgs({
  options: { update: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const chosen = storyNames().filter(
  (name) => positionals.length === 0 || positionals.some((wanted) => name.startsWith(wanted)),
);
let failed = 0;
for (const name of chosen) if (!(await tell(name))) failed += 1;
console.log(`${chosen.length} stories, ${failed} ${failed === 1 ? 'differs' : 'differ'}`);
process.exitCode = failed > 0 || chosen.length === 0 ? 1 : 0;

/** False when it was not as expected. */
async function tell(name: string): Promise<boolean> {
  try {
    const told = await playStory(readStory(name));
    const path = goldenPath(name);
    if (values.update) writeFileSync(path, told);
    const golden = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (told === golden) return true;
    console.log(`${name}: not as its golden log says\n${difference(golden, told)}`);
  } catch (error) {
    console.log(error instanceof Error ? error.message : error);
  }
  return false;
}
