/** Plays one story: its lines one after the other on a simulated site, under the eyes of the observers. */
import { errorRecord } from '../../../src/domain/error.ts';
import { sweepAll } from '../../../src/engine/scheduler.ts';
import { type Chronicle, createChronicle } from '../../../src/main/simulation/chronicle.ts';
import { type Answer, BY_HAND, Site } from '../../../src/main/simulation/site.ts';
import { CALAMITIES } from './calamities.ts';
import { EXPECTATIONS } from './expectations.ts';
import { GUARDS } from './guards.ts';
import { HOMECOMING } from './homecoming.ts';
import { ledgers } from './ledgers.ts';
import { PEOPLE } from './people.ts';
import { PROOFS } from './proofs.ts';
import { SEEDS } from './seeds.ts';
import type { Story, StoryLine } from './story.ts';

/** What commands work with. */
export type Play = {
  readonly site: Site;
  readonly chronicle: Chronicle;
  /** Why the story may end with something open; null: it must not. */
  openBecause: string | null;
};

/** One kind of line. `act` may answer what it began, which is then waited for unless the line says `begin`. */
export type Command = {
  readonly pattern: RegExp;
  readonly act: (
    play: Play,
    words: Readonly<Record<string, string | undefined>>,
  ) => void | Promise<void> | Promise<Answer>;
};

/** The golden log. Throws at the first line that cannot be played, is not so, or breaks an invariant. */
export async function playStory(story: Story): Promise<string> {
  const chronicle = createChronicle();
  await using site = await openSite(story, chronicle);
  const play: Play = { site, chronicle, openBecause: null };
  for (const line of story.lines) {
    try {
      await playLine(play, line);
      if (site.isControlled) await requireSound(site, 'everyStep');
    } catch (error) {
      const told = chronicle.lines.slice(-12).join('\n');
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${story.path}:${line.number}: ${line.text}\n${reason}\n\n${told}`);
    }
  }
  await endStory(play);
  return `${[...story.purpose, '', ...chronicle.lines].join('\n')}\n`;
}

async function openSite(story: Story, chronicle: Chronicle): Promise<Site> {
  const { hosts, hasScheduler } = story;
  const site = await Site.open({ seed: 1, hosts, hasScheduler, observer: chronicle });
  chronicle.watch(site.world);
  return site;
}

const COMMANDS: readonly Command[] = [
  ...CALAMITIES,
  ...PEOPLE,
  ...HOMECOMING,
  ...PROOFS,
  ...GUARDS,
  ...SEEDS,
  ...EXPECTATIONS,
];

async function playLine(play: Play, { text }: StoryLine): Promise<void> {
  const isBegun = text.startsWith('begin ');
  const wish = isBegun ? text.slice('begin '.length) : text;
  const matching = COMMANDS.flatMap((command) => {
    const match = command.pattern.exec(wish);
    return match === null ? [] : [{ command, words: match.groups ?? {} }];
  });
  const [found] = matching;
  if (found === undefined || matching.length > 1) {
    throw new Error(`this line means ${matching.length} things`);
  }
  if (!/^(expect|vm) /.test(text)) play.chronicle.say(`> ${text}`);
  const answer = await found.command.act(play, found.words);
  if (answer !== undefined) await hear(play, answer, isBegun);
  play.chronicle.look();
}

async function hear({ site, chronicle }: Play, answer: Answer, isBegun: boolean): Promise<void> {
  if (answer.type === 'refused') {
    const { code, message } = errorRecord(answer.error);
    chronicle.say(`refused, ${code}: ${message}`);
  }
  if (answer.type === 'begun' && !isBegun && site.isControlled) {
    await site.settle(answer.operations.map(({ id }) => id));
  }
}

async function requireSound(site: Site, when: 'everyStep' | 'whenIdle'): Promise<void> {
  const violations = await site.violations(when);
  if (violations.length > 0) throw new Error(`violated:\n  ${violations.join('\n  ')}`);
}

/** Nothing is left, every invariant holds, and the ledgers say what became of the writes. */
async function endStory({ site, chronicle, openBecause }: Play): Promise<void> {
  chronicle.say('the end');
  if (!site.isControlled) throw new Error('a story ends with a living controller');
  if (openBecause === null) {
    await site.settleAll();
    await site.run(sweepAll(site.living.ports, BY_HAND));
    await site.settleAll();
  }
  await requireSound(site, openBecause === null ? 'whenIdle' : 'everyStep');
  for (const text of ledgers(site.world)) chronicle.say(text);
}
