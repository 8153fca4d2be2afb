/** Lines that are wishes to Understudy, and what befalls its controllers. */
import { parseSeeds } from '../../../src/cli/seeds.ts';
import { asUnderstudyError } from '../../../src/domain/error.ts';
import { instant } from '../../../src/domain/instant.ts';
import { DEFAULT_ARCHIVE_SECONDS, DEFAULT_SCRATCH } from '../../../src/domain/job/job.ts';
import type { SourceFence } from '../../../src/domain/replica/replica.ts';
import { parseWindow } from '../../../src/domain/replication/window.ts';
import { sweepAll } from '../../../src/engine/scheduler.ts';
import { BY_HAND } from '../../../src/main/simulation/site.ts';
import type { PointSelector } from '../../../src/ports/controller.ts';
import type { ChangeJob, CreateJob } from '../../../src/ports/job-orders.ts';
import type { OperationAnswer } from '../../../src/ports/orders.ts';
import type { Command, Play } from './play.ts';
import { byteCount, durationMs } from './words.ts';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

const nameOf = async ({ site }: Play, vm: string | undefined) =>
  (await site.replicaOf(vm ?? '')).id;

/** A point by its label in the log; without one the newest. */
function pointOf({ chronicle }: Play, label: string | undefined): PointSelector {
  if (label === undefined) return { type: 'latest' };
  return { type: 'reference', reference: idOf({ chronicle }, label) };
}

function idOf({ chronicle }: Pick<Play, 'chronicle'>, label: string | undefined): string {
  const id = chronicle.names.idOf(label ?? '');
  if (id === null) throw new Error(`there was no ${label} yet`);
  return id;
}

/** `P2`, or `archive B1`: what a replica can run on. */
function basisOf(play: Play, text: string | undefined) {
  const [, archive] = (text ?? '').split('archive ');
  if (archive === undefined) return { point: pointOf(play, text), archive: null };
  return { point: { type: 'latest' } as const, archive: idOf(play, archive) };
}

async function openOperationOf(play: Play, vm: string | undefined) {
  const id = await nameOf(play, vm);
  const open = await play.site.openOperations();
  const found = open.find(({ subject }) => subject === id);
  if (found === undefined) throw new Error(`nothing is open for ${vm}`);
  return found.id;
}

export const PEOPLE: readonly Command[] = [
  line(
    'protect (?<vms>\\S+(?:, \\S+)*) from (?<source>\\S+) to (?<target>\\S+?)(?:: (?<wishes>.+))?',
    async (play, words) => {
      const { site, chronicle } = play;
      const work = site.living.controller.createJob(jobOf(words), BY_HAND).then(
        (creation) => {
          if (creation.type !== 'blocked') return;
          for (const { vm, findings } of creation.findings) {
            for (const { message } of findings) chronicle.say(`blocked, ${vm.name}: ${message}`);
          }
        },
        (error) => chronicle.say(`refused: ${asUnderstudyError(error).message}`),
      );
      await site.run(work);
    },
  ),
  line('run (?<vm>\\S+)', async (play, { vm }) => {
    const { jobId, sourceVmId } = await play.site.replicaOf(vm ?? '');
    return play.site.ask((controller) => controller.runJob(jobId ?? '', [sourceVmId], BY_HAND));
  }),
  line(
    'fail over (?<vm>\\S+)(?: to (?<point>P\\d+))?(?: fencing by (?<fence>nics|shutdown|power-off))?(?<accepting> accepting the duplicate)?',
    async (play, { vm, point, fence, accepting }) => {
      const order = {
        point: pointOf(play, point),
        reason: 'as the story goes',
        fence: (fence ?? 'none') as SourceFence,
        acceptDuplicate: accepting !== undefined,
      };
      const id = await nameOf(play, vm);
      return play.site.ask((controller) => controller.failover(id, order, BY_HAND));
    },
  ),
  line(
    'fail over (?<vm>\\S+) as planned(?: within (?<deadline>[\\d.]+ \\w+))?(?:, (?<missed>ask|power-off|give-up) after that)?',
    async (play, { vm, deadline, missed }) => {
      const order = {
        reason: 'as the story goes',
        passesMax: 5,
        lastDeltaMsMax: 5000,
        shutdownDeadlineMs: deadline === undefined ? 120_000 : durationMs(deadline),
        onMissedDeadline: (missed ?? 'give-up') as 'ask' | 'power-off' | 'give-up',
      };
      const id = await nameOf(play, vm);
      return play.site.ask((controller) => controller.plannedFailover(id, order, BY_HAND));
    },
  ),
  line(
    'undo (?<vm>\\S+?)(?<force> by force)?(?<keep>, keeping the fence)?',
    async (play, words) => {
      const id = await nameOf(play, words.vm);
      const order = { force: words.force !== undefined, keepFence: words.keep !== undefined };
      return play.site.ask((controller) => controller.undoFailover(id, order, BY_HAND));
    },
  ),
  line('make (?<vm>\\S+) permanent', async (play, { vm }) => {
    const id = await nameOf(play, vm);
    return play.site.ask((controller) => controller.permanentFailover(id, BY_HAND));
  }),
  line('(?<what>rescan|repair) (?<vm>\\S+)', async (play, { what, vm }) => {
    const id = await nameOf(play, vm);
    return play.site.ask((controller) => controller.rescan(id, what === 'repair', BY_HAND));
  }),
  line('verify (?<vm>\\S+)(?: (?<point>P\\d+))?', async (play, { vm, point }) => {
    const id = await nameOf(play, vm);
    const selector = point === undefined ? null : pointOf(play, point);
    return play.site.ask((controller) => controller.verify(id, selector, BY_HAND));
  }),
  line('remove the replica of (?<vm>\\S+)', async (play, { vm }) => {
    const id = await nameOf(play, vm);
    return play.site.ask((controller) => controller.removeReplica(id, BY_HAND));
  }),
  line('delete the replica of (?<vm>\\S+)', async (play, { vm }) => {
    const id = await nameOf(play, vm);
    return play.site.ask((controller) => controller.deleteReplica(id, BY_HAND));
  }),
  line('(?<how>pin|unpin) (?<point>P\\d+) of (?<vm>\\S+)', async (play, { how, point, vm }) => {
    const id = await nameOf(play, vm);
    const { controller } = play.site.living;
    const at = pointOf(play, point);
    await play.site.run(controller.setPointPinned(id, at, how === 'pin', BY_HAND));
  }),
  line('hop (?<vm>\\S+) to (?<to>P\\d+|archive B\\d+)', async (play, { vm, to }) => {
    const id = await nameOf(play, vm);
    const order = { ...basisOf(play, to), reason: 'as the story goes', acceptDuplicate: false };
    return play.site.ask((c) => c.hop(id, { ...order, fence: 'none' }, BY_HAND));
  }),
  line('fail over (?<vm>\\S+) to (?<to>archive B\\d+)', async (play, { vm, to }) => {
    const id = await nameOf(play, vm);
    const order = { ...basisOf(play, to), reason: 'as the story goes', acceptDuplicate: false };
    return play.site.ask((c) => c.failover(id, { ...order, fence: 'power-off' }, BY_HAND));
  }),
  line('delete archive (?<archive>B\\d+) of (?<vm>\\S+)', async (play, { archive, vm }) => {
    const id = await nameOf(play, vm);
    return play.site.ask((c) => c.deleteArchive(id, idOf(play, archive), BY_HAND));
  }),
  line('keep archive (?<archive>B\\d+) of (?<vm>\\S+) for (?<time>.+)', async (play, words) => {
    const id = await nameOf(play, words.vm);
    const until = instant(play.site.world.clock.now() + durationMs(words.time));
    return play.site.ask((c) => c.keepArchive(id, idOf(play, words.archive), until, BY_HAND));
  }),
  line('export (?<what>P\\d+|archive B\\d+) of (?<vm>\\S+)', async (play, { what, vm }) => {
    const id = await nameOf(play, vm);
    const { archive, point } = basisOf(play, what);
    return play.site.ask((c) =>
      archive === null ? c.exportPoint(id, point, BY_HAND) : c.exportArchive(id, archive, BY_HAND),
    );
  }),
  line('retry (?<vm>\\S+)', async (play, { vm }) => {
    const id = await openOperationOf(play, vm);
    return play.site.ask((controller) => controller.retryOperation(id, BY_HAND));
  }),
  line('cancel (?<vm>\\S+)', async (play, { vm }) => {
    const id = await openOperationOf(play, vm);
    return play.site.ask((controller) => controller.cancelOperation(id, BY_HAND));
  }),
  line('answer (?<vm>\\S+): (?<answer>wait|power-off|give-up)', async (play, { vm, answer }) => {
    const id = await openOperationOf(play, vm);
    return play.site.ask((controller) =>
      controller.answerOperation(id, answer as OperationAnswer, BY_HAND),
    );
  }),
  line('(?<how>pause|resume) the job of (?<vm>\\S+)', async (play, { how, vm }) => {
    const { jobId } = await play.site.replicaOf(vm ?? '');
    const { controller } = play.site.living;
    await play.site.run(controller.setJobPaused(jobId ?? '', how === 'pause', BY_HAND));
  }),
  line('change the job of (?<vm>\\S+?): (?<wishes>.+)', async (play, { vm, wishes }) => {
    const { site, chronicle } = play;
    const { jobId } = await site.replicaOf(vm ?? '');
    const order = changeOf(wishes?.split(', ') ?? []);
    const work = site.living.controller.changeJob(jobId ?? '', order, BY_HAND);
    const changed = await site.run(work);
    for (const { findings } of changed.findings) {
      for (const { message } of findings) chronicle.say(`found: ${message}`);
    }
    if (changed.type === 'blocked') return;
    for (const { setting, from, to } of changed.changes) {
      chronicle.say(`${setting}: ${from} → ${to}`);
    }
  }),
  line('delete the job of (?<vm>\\S+)', async (play, { vm }) => {
    const { jobId } = await play.site.replicaOf(vm ?? '');
    const { controller } = play.site.living;
    await play.site.run(controller.deleteJob(jobId ?? '', BY_HAND));
  }),
  line('sweep', async ({ site }) => {
    await site.run(sweepAll(site.living.ports, BY_HAND));
    await site.settleAll();
  }),

  line('until everything has settled', ({ site }) => site.settleAll()),
  line('until the log says (?<text>.+)', async ({ site, chronicle }, { text }) => {
    for (let second = 0; second < 24 * 3600; second += 1) {
      if (chronicle.lines.some((told) => !told.includes('>') && told.includes(text ?? ''))) return;
      await site.world.clock.advance(1000);
      chronicle.look();
    }
    throw new Error('it was never said');
  }),
  line('until the fault has struck', async ({ site }) => {
    const { faults, clock } = site.world;
    const before = faults.happened.length;
    for (let step = 0; faults.happened.length === before; step += 1) {
      if (step > 100_000) throw new Error('it never did');
      await clock.advance(10);
    }
  }),
  line('the controller is killed', ({ site }) => site.life?.kill()),
  line('a controller starts', async ({ site, chronicle }) => {
    try {
      await site.run(site.startController());
    } catch (error) {
      const { code, message } = asUnderstudyError(error);
      chronicle.say(
        `it ends at once, ${code}: ${message.replaceAll(site.folder, '/var/lib/understudy')}`,
      );
    }
  }),
  line('this may stay open because (?<reason>.+)', (play, { reason }) => {
    play.openBecause = reason ?? null;
  }),
];

/** Wishes: `every 15 min`, `window 22:00-06:00`, `keep 3`, `archive for 1 h`, `at most 1 MiB a second`, `scratch 1 MiB`, `quiesced`, `seed vda:/a/file`. */
function jobOf(words: Readonly<Record<string, string | undefined>>): CreateJob {
  const wishes = words.wishes?.split(', ') ?? [];
  const wish = (prefix: string, suffix = '') =>
    wishes
      .find((one) => one.startsWith(prefix))
      ?.slice(prefix.length, suffix.length > 0 ? -suffix.length : undefined);
  const [every, window, archive, rate, quota, seed] = [
    wish('every '),
    wish('window '),
    wish('archive for '),
    wish('at most ', ' a second'),
    wish('scratch '),
    wish('seed '),
  ];
  return {
    name: `${words.vms} to ${words.target}`,
    sourceHost: words.source ?? '',
    targetHost: words.target ?? '',
    vms: words.vms?.split(', ') ?? [],
    rpoSeconds: every === undefined ? 900 : durationMs(every) / 1000,
    isScheduled: every !== undefined,
    windows: window === undefined ? [] : [parseWindow(window)],
    retention: { keepLast: Number(wish('keep ') ?? 5), tiers: [] },
    quiesce: wishes.includes('quiesced') ? 'required' : 'never',
    replicaSuffix: wish('named ') ?? '-replica',
    networkMap: {},
    bytesPerSecondMax: rate === undefined ? null : byteCount(rate),
    archiveSeconds: archive === undefined ? DEFAULT_ARCHIVE_SECONDS : durationMs(archive) / 1000,
    scratch:
      quota === undefined ? DEFAULT_SCRATCH : { ...DEFAULT_SCRATCH, quotaBytes: byteCount(quota) },
    testing: null,
    seeds: seed === undefined ? [] : [{ vm: words.vms ?? '', from: parseSeeds([seed]) }],
  };
}

/** Some of the wishes above, and `network FROM=TO` or `network FROM=`. */
function changeOf(wishes: readonly string[]): ChangeJob {
  const changes = wishes.map((wish): ChangeJob => {
    const [, every] = /^every (.+)$/.exec(wish) ?? [];
    if (every !== undefined) return { rpoSeconds: durationMs(every) / 1000, isScheduled: true };
    const [, keep] = /^keep (\d+)$/.exec(wish) ?? [];
    if (keep !== undefined) return { retention: { keepLast: Number(keep) } };
    const [, from, to] = /^network (\S+)=(\S*)$/.exec(wish) ?? [];
    if (from !== undefined) return { networks: { [from]: to === '' ? null : (to ?? null) } };
    throw new Error(`no such wish: ${wish}`);
  });
  return Object.assign({}, ...changes);
}
