import type { Controller } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';

export function rebuildHandlers(controller: Controller): Pick<Handlers, 'rebuild'> {
  return {
    rebuild: async ({ body: { hosts = null, sourceHost = null, ...how }, options }) => {
      const report = await controller.rebuild({ hosts, sourceHost, ...how }, options);
      return {
        ...report,
        folders: report.folders.map((folder) => ({ ...folder, notes: [...folder.notes] })),
        unreachable: report.unreachable.map((host) => ({ ...host })),
      };
    },
  };
}
