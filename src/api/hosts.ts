import type { HostAnswer, HostDetailAnswer } from '../contract/host.ts';
import type { Host } from '../domain/host/host.ts';
import { formatInstant } from '../domain/instant.ts';
import type { Controller, HostView } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';

type Verbs = 'addHost' | 'listHosts' | 'showHost' | 'removeHost' | 'listVms';

export function hostHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    addHost: async ({ body, options }) => hostDetail(await controller.addHost(body, options)),
    listHosts: async ({ options }) => ({
      items: (await controller.hosts(options)).map(hostAnswer),
    }),
    showHost: async ({ parameters, options }) =>
      hostDetail(await controller.host(parameters.host, options)),
    removeHost: async ({ parameters, options }) => {
      const { id, name } = await controller.removeHost(parameters.host, options);
      return { id, name };
    },
    listVms: async ({ parameters, options }) => {
      const vms = await controller.vms(parameters.host, options);
      return { items: vms.map(({ id, name, power }) => ({ id, name, power })) };
    },
  };
}

function hostDetail({ host, description, unreachableBecause }: HostView): HostDetailAnswer {
  return {
    ...hostAnswer(host),
    description:
      description === null ? null : { ...description, networks: [...description.networks] },
    unreachableBecause,
  };
}

function hostAnswer(host: Host): HostAnswer {
  return { ...host, addedAt: formatInstant(host.addedAt) };
}
