/** Lines about what proves a replica, and what keeps its source from meeting it: tests, bisection, fences. */
import { diskKey } from '../../../src/domain/ids.ts';
import type { SourceFence } from '../../../src/domain/replica/replica.ts';
import { parseProbe } from '../../../src/domain/test-failover/probe.ts';
import { watchSources } from '../../../src/engine/watch-sources.ts';
import { BY_HAND } from '../../../src/main/simulation/site.ts';
import type { PointSelector } from '../../../src/ports/controller.ts';
import { SICK } from '../../../src/simulator/test-bench.ts';
import type { Command, Play } from './play.ts';
import { durationMs, vmNamed } from './words.ts';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

const idOf = async ({ site }: Play, vm: string | undefined) => (await site.replicaOf(vm ?? '')).id;

export const PROOFS: readonly Command[] = [
  line(
    'test (?<vm>\\S+)(?: at (?<points>P\\d+(?:, P\\d+)*))?(?: with (?<probes>.+?))?(?: for (?<hold>\\d+ \\w+))?',
    async (play, { vm, points, probes, hold }) => {
      const id = await idOf(play, vm);
      const order = {
        points: pointsOf(play, points),
        probes: probesOf(probes),
        holdSeconds: hold === undefined ? 0 : durationMs(hold) / 1000,
      };
      return play.site.ask((controller) => controller.testFailover(id, order, BY_HAND));
    },
  ),
  line('bisect (?<vm>\\S+) with (?<probes>.+)', async (play, { vm, probes }) => {
    const id = await idOf(play, vm);
    return play.site.ask((controller) => controller.bisect(id, probesOf(probes), BY_HAND));
  }),
  line('(?<vm>\\S+) falls sick', ({ site }, words) => {
    vmNamed(site.world, words.vm).vm.write(diskKey('vda'), 7, SICK);
  }),
  line('fence (?<vm>\\S+) by (?<fence>nics|shutdown|power-off)', async (play, { vm, fence }) => {
    const id = await idOf(play, vm);
    const how = fence as Exclude<SourceFence, 'none'>;
    return play.site.ask((controller) => controller.fenceSource(id, how, BY_HAND));
  }),
  line(
    'lift the fence of (?<vm>\\S+?)(?<accepting> accepting the duplicate)?',
    async (play, words) => {
      const id = await idOf(play, words.vm);
      const accepts = words.accepting !== undefined;
      return play.site.ask((controller) => controller.unfenceSource(id, accepts, BY_HAND));
    },
  ),
  line('the sources are looked at', async ({ site, chronicle }) => {
    const { signal } = BY_HAND;
    const onReturned = (message: string) => chronicle.say(`told: ${message}`);
    await site.run(watchSources(site.living.ports, { signal, onReturned }));
  }),
];

function pointsOf({ chronicle }: Play, labels: string | undefined): readonly PointSelector[] {
  if (labels === undefined) return [{ type: 'latest' }];
  return labels.split(', ').map((label) => {
    const reference = chronicle.names.idOf(label);
    if (reference === null) throw new Error(`there was no ${label} yet`);
    return { type: 'reference', reference };
  });
}

function probesOf(text: string | undefined) {
  return (text?.split(', ') ?? []).map((probe) => parseProbe(probe));
}
