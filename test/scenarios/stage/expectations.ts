/** Lines that say what must be so: the point of a story, whatever else its log tells. */
import assert from 'node:assert/strict';
import type { Condition } from '../../../src/domain/replica/replica.ts';
import type { Command, Play } from './play.ts';
import { durationMs, vmNamed } from './words.ts';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^expect ${pattern}$`), act };
}

const VM = '(?<vm>\\S+(?: on \\S+)?)';

export const EXPECTATIONS: readonly Command[] = [
  line('(?<vm>\\S+) in (?<phase>[A-Z]\\w+)', async ({ site }, { vm, phase }) => {
    assert.equal((await site.replicaOf(vm ?? '')).phase, phase);
  }),
  line('(?<count>\\d+) points? of (?<vm>\\S+)', async ({ site }, { vm, count }) => {
    const { id } = await site.replicaOf(vm ?? '');
    assert.equal((await site.living.ports.catalog.points(id)).length, Number(count));
  }),
  line('(?<vm>\\S+) to be (?<not>not )?(?<condition>[a-z-]+)', async (play, words) => {
    const found = (await conditionsOf(play, words.vm)).includes(words.condition ?? '');
    assert.equal(
      found,
      words.not === undefined,
      `conditions: ${await conditionsOf(play, words.vm)}`,
    );
  }),
  line('(?<vm>\\S+) to be told (?<text>.+)', async (play, { vm, text }) => {
    const messages = (await toldOf(play, vm)).map(({ message }) => message);
    assert.ok(
      messages.some((message) => message.includes(text ?? '')),
      messages.join('\n'),
    );
  }),
  line(`${VM} (?<power>running|off|paused)`, ({ site }, words) => {
    assert.equal(vmNamed(site.world, words.vm).vm.power, words.power);
  }),
  line(`${VM} (?<connected>connected|disconnected)`, ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    assert.equal(vm.isConnected, words.connected === 'connected');
  }),
  line('the last operation (?<state>[a-z]+)(?: with (?<code>[a-z-]+))?', async (play, words) => {
    const [newest] = await play.site.living.ports.durable.operations({ limit: 1 });
    assert.equal(newest?.state, words.state, newest?.error?.message);
    if (words.code !== undefined) assert.equal(newest?.error?.code, words.code);
  }),
  line('the log to say (?<text>.+)', ({ chronicle }, { text }) => {
    const says = chronicle.lines.some((told) => told.includes(text ?? ''));
    assert.ok(says, `nowhere: ${text}`);
  }),
  line('the log not to say (?<text>.+)', ({ chronicle }, { text }) => {
    const where = chronicle.lines.find(
      (told) => !told.includes('  > ') && told.includes(text ?? ''),
    );
    assert.equal(where, undefined);
  }),
  line(`the ledger of ${VM} to reach (?<count>\\d+)`, ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    assert.equal(vm.ledger().at(-1) ?? 0, Number(words.count));
  }),
  line(`${VM} to hold (?<text>.+) in block (?<block>\\d+) of (?<disk>\\S+)`, ({ site }, words) => {
    const { vm } = vmNamed(site.world, words.vm);
    assert.equal(String(vm.read((words.disk ?? '') as never, Number(words.block))), words.text);
  }),
  line('(?<vm>\\S+) to be running within (?<time>.+)', async ({ site }, { vm, time }) => {
    const { failover } = await site.replicaOf(vm ?? '');
    assert.ok((failover?.runningAfterMs ?? Number.POSITIVE_INFINITY) <= durationMs(time));
  }),
  line('no guest to have been paused', ({ site }) => {
    for (const host of site.world.hosts.values()) {
      for (const vm of host.vms.values()) assert.deepEqual(vm.pauses, []);
    }
  }),
];

async function conditionsOf(play: Play, vm: string | undefined): Promise<readonly string[]> {
  return (await toldOf(play, vm)).map(({ name }) => name);
}

async function toldOf({ site }: Play, vm: string | undefined): Promise<readonly Condition[]> {
  const { id } = await site.replicaOf(vm ?? '');
  return site.living.ports.catalog.conditions(id);
}
