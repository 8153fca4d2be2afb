/**
 * How long nobody serves when a guest moves on purpose: shutdown, last delta, start, and what we add to these.
 *
 *   begin ── shut down ── freeze, copy, seal ── start ─▶ running
 *        └── ours: everything in between ──┘
 *
 * Counted from the beginning of the shutdown to the hypervisor calling the other VM running. The boot of the guest comes
 * on top, whoever starts it.
 */
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import { succeed } from '../../test/e2e/stage/life.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { heading, median, seconds, table, verdict } from '../system/figures.ts';

const ADDED_LIMIT_S = 1;
const MIB = 1024 ** 2;

type Work = {
  readonly shutdown: RegExp;
  readonly lastDelta: RegExp;
  readonly start: string;
};

const PLANNED: Work = {
  shutdown: /^shut-down-source-\d+$/,
  lastDelta: /(^|\/)(freeze|move-blocks|end-freeze|seal)$/,
  start: 'start-replica',
};
const SWITCHOVER: Work = {
  shutdown: /^shut-down-replica-\d+$/,
  lastDelta: /(^|\/)(freeze-replica|copy-home)$/,
  start: 'start-production',
};

export async function benchDowntime(stage: Stage, rounds: number): Promise<void> {
  const vm = await stage.guestVm({
    name: 'moved-on-purpose',
    disks: [{ content: 'system' }, { content: 'blank', sizeBytes: 256 * MIB }],
  });
  await vm.start();
  await vm.waitForHttp();
  const protection = await stage.protect(vm.uuid, ['--keep', '3']);
  for (let point = 0; point < 4; point += 1) await stage.replicate(protection);
  const { id } = await stage.replica(protection);
  const planned = [];
  const switchovers = [];
  for (let round = 0; round < rounds; round += 1) {
    planned.push(await succeed(stage, 'planned-failover', id));
    await succeed(stage, 'failback', id);
    switchovers.push(await succeed(stage, 'switch-over', id));
    await succeed(stage, 'commit-failback', id);
  }
  tell('Planned failover of a VM with two disks: how long nobody serves', planned, PLANNED);
  tell('Switchover of a failback of the same VM: how long nobody serves', switchovers, SWITCHOVER);
  await vm.destroy();
}

type Event = OperationDetailAnswer['history'][number];

type Parts = ReturnType<typeof partsOf>;

/** From the history; of the steps since the shutdown began. */
function partsOf({ history }: OperationDetailAnswer, { shutdown, lastDelta, start }: Work) {
  const beganAt = history.findIndex(
    ({ type, step }) => type === 'step-started' && shutdown.test(step ?? ''),
  );
  const endedAt = history.findIndex(
    ({ type, step }) => type === 'step-succeeded' && step?.split('/').at(-1) === start,
  );
  const [first, last] = [history[beganAt], history[endedAt]];
  if (first === undefined || last === undefined) throw new Error('the history has no downtime');
  const done = history.slice(beganAt, endedAt + 1).filter(({ type }) => type === 'step-succeeded');
  const sum = (isOf: (step: string) => boolean) =>
    done
      .filter(({ step }) => isOf(step ?? ''))
      .reduce((ms, each) => ms + (each.durationMs ?? 0), 0);
  const wholeMs = Date.parse(last.at) - Date.parse(first.at);
  const shutdownMs = sum((step) => shutdown.test(step));
  const lastDeltaMs = sum((step) => lastDelta.test(step));
  const startMs = sum((step) => step.split('/').at(-1) === start);
  return {
    wholeMs,
    shutdownMs,
    lastDeltaMs,
    startMs,
    oursMs: wholeMs - shutdownMs - lastDeltaMs - startMs,
    others: done.filter(
      ({ step }) =>
        !shutdown.test(step ?? '') &&
        !lastDelta.test(step ?? '') &&
        step?.split('/').at(-1) !== start,
    ),
  };
}

function tell(title: string, operations: readonly OperationDetailAnswer[], work: Work): void {
  heading(title);
  const parts = operations.map((operation) => partsOf(operation, work));
  const row = (name: string, of: (part: Parts) => number) => [name, seconds(parts.map(of))];
  table([
    row('shutdown of the guest', ({ shutdownMs }) => shutdownMs),
    row('last delta', ({ lastDeltaMs }) => lastDeltaMs),
    row('start', ({ startMs }) => startMs),
    row('added by us', ({ oursMs }) => oursMs),
    row('whole', ({ wholeMs }) => wholeMs),
  ]);
  const added = median(parts.map(({ oursMs }) => oursMs)) / 1000;
  console.log(`added by us: ${verdict(added, ADDED_LIMIT_S, 's')}`);
  tellOthers(parts.flatMap(({ others }) => others));
}

function tellOthers(events: readonly Event[]): void {
  const steps = Map.groupBy(events, ({ step }) => step ?? '');
  const rows = [...steps].map(([step, each]) => ({
    step,
    ms: median(each.map(({ durationMs }) => durationMs ?? 0)),
  }));
  console.log('of these:');
  table(
    rows.filter(({ ms }) => ms >= 1).map(({ step, ms }) => [`  ${step}`, `${ms.toFixed(0)} ms`]),
  );
}
