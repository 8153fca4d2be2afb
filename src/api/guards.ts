import type { GuardAnswer } from '../contract/guard.ts';
import { formatInstant } from '../domain/instant.ts';
import type { Controller } from '../ports/controller.ts';
import type { GuardView } from '../ports/guard-control.ts';
import type { Handlers } from './handlers.ts';

type Verbs = 'showGuard' | 'installGuard' | 'removeGuard' | 'liftGuard';

export function guardHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    showGuard: async ({ parameters, options }) =>
      guardAnswer(await controller.guard(parameters.host, options)),
    installGuard: async ({ parameters, body, options }) =>
      guardAnswer(await controller.installGuard(parameters.host, body.hooksFolder, options)),
    removeGuard: async ({ parameters, options }) => {
      const { id, name } = await controller.removeGuard(parameters.host, options);
      return { id, name };
    },
    liftGuard: async ({ parameters, options }) =>
      guardAnswer(await controller.liftGuard(parameters.host, parameters.vm, options)),
  };
}

function guardAnswer({ host, state, because, held }: GuardView): GuardAnswer {
  return {
    hostId: host.id,
    hostName: host.name,
    hooksFolder: host.startGuard?.hooksFolder ?? null,
    state,
    because,
    held: held.map((vm) => ({ ...vm, since: formatInstant(vm.since) })),
  };
}
