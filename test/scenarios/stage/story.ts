/**
 * A story as it is written: a sentence or more that say what it is about, then what happens, line by line.
 *
 *   # The link is cut while a run moves blocks; the next run is incremental.
 *   hosts production, recovery
 *   vm web on production
 *
 *   protect web from production to recovery
 *   run web
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export type StoryLine = { readonly number: number; readonly text: string };

export type Story = {
  /** `replication/first-run`. */
  readonly name: string;
  readonly path: string;
  /** The `#` lines at the top. */
  readonly purpose: readonly string[];
  readonly hosts: readonly string[];
  readonly hasScheduler: boolean;
  readonly lines: readonly StoryLine[];
};

const FOLDER = join(import.meta.dirname, '..');
const ENDING = '.story';

/** The names of all stories, in order. */
export function storyNames(): readonly string[] {
  return readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ENDING))
    .map((path) => path.slice(0, -ENDING.length))
    .sort();
}

export function readStory(name: string): Story {
  const path = join(FOLDER, `${name}${ENDING}`);
  const all = readFileSync(path, 'utf8')
    .split('\n')
    .map((text, index) => ({ number: index + 1, text: text.trim() }));
  const purpose = all.filter(({ text }) => text.startsWith('#')).map(({ text }) => text);
  const spoken = all.filter(({ text }) => text !== '' && !text.startsWith('#'));
  if (purpose.length === 0) throw new Error(`${path} does not say what it is about`);
  const hosts = spoken.find(({ text }) => text.startsWith('hosts '))?.text.slice('hosts '.length);
  return {
    name,
    path: `test/scenarios/${name}${ENDING}`,
    purpose,
    hosts: (hosts ?? 'production, recovery').split(', '),
    hasScheduler: spoken.some(({ text }) => text === 'the scheduler runs'),
    lines: spoken.filter(({ text }) => !text.startsWith('hosts ') && text !== 'the scheduler runs'),
  };
}

export function goldenPath(name: string): string {
  return join(FOLDER, `${name}.log`);
}
