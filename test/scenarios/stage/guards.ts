/** Lines about start guards: put in, noticed by the host, looked at, and what they hold let go. */
import { BY_HAND } from '../../../src/main/simulation/site.ts';
import { reloadHost } from '../../../src/simulator/start-guard.ts';
import type { Command } from './play.ts';
import { hostNamed } from './words.ts';

function line(pattern: string, act: Command['act']): Command {
  return { pattern: new RegExp(`^${pattern}$`), act };
}

export const GUARDS: readonly Command[] = [
  line('start guard at (?<host>\\S+)', async ({ site }, { host = '' }) => {
    await site.run(site.living.controller.installGuard(host, null, BY_HAND));
    reloadHost(hostNamed(site.world, host));
  }),
  line('put a guard into (?<host>\\S+)', async ({ site }, { host = '' }) => {
    await site.run(site.living.controller.installGuard(host, null, BY_HAND));
  }),
  line('take the guard out of (?<host>\\S+)', async ({ site }, { host = '' }) => {
    await site.run(site.living.controller.removeGuard(host, BY_HAND));
  }),
  line('(?<host>\\S+) is reloaded', ({ site }, { host }) => {
    reloadHost(hostNamed(site.world, host));
  }),
  line('let (?<vm>\\S+) start on (?<host>\\S+)', async ({ site }, { vm = '', host = '' }) => {
    await site.run(site.living.controller.liftGuard(host, vm, BY_HAND));
  }),
  line('look at the guard of (?<host>\\S+)', async ({ site, chronicle }, { host = '' }) => {
    const view = await site.run(site.living.controller.guard(host, BY_HAND));
    const held = view.held.map(({ vmName, vmId }) => vmName ?? vmId).join(', ');
    chronicle.say(`it is ${view.state} and holds ${held || 'nobody'}. ${view.because}`);
  }),
];
