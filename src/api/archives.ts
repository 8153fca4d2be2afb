import type { ArchiveAnswer, ArchiveDiffAnswer } from '../contract/archive.ts';
import { formatInstant, instant } from '../domain/instant.ts';
import type { ArchivedBranch } from '../domain/replica/replica.ts';
import type { Controller } from '../ports/controller.ts';
import type { ArchiveDiff, ArchiveView } from '../ports/orders.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer } from './operations.ts';
import { pointSelector } from './point-selector.ts';

type Verbs =
  | 'listArchives'
  | 'diffArchive'
  | 'keepArchive'
  | 'deleteArchive'
  | 'exportArchive'
  | 'exportPoint';

export function archiveHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    listArchives: async ({ parameters, options }) => ({
      items: (await controller.archives(parameters.replica, options)).map(viewAnswer),
    }),
    diffArchive: async ({ parameters: { replica, archive }, options }) =>
      diffAnswer(await controller.archiveDiff(replica, archive, options)),
    keepArchive: async ({ parameters: { replica, archive }, body, options }) => {
      const until = instant(Date.parse(body.until));
      return operationAnswer(await controller.keepArchive(replica, archive, until, options));
    },
    deleteArchive: async ({ parameters: { replica, archive }, options }) =>
      operationAnswer(await controller.deleteArchive(replica, archive, options)),
    exportArchive: async ({ parameters: { replica, archive }, options }) =>
      operationAnswer(await controller.exportArchive(replica, archive, options)),
    exportPoint: async ({ parameters: { replica, point }, options }) =>
      operationAnswer(await controller.exportPoint(replica, pointSelector(point), options)),
  };
}

export function archiveAnswer(archive: ArchivedBranch) {
  const { branchId, pointId, overBranchId, archivedAt, keepUntil } = archive;
  return {
    branchId,
    pointId,
    overBranchId,
    archivedAt: formatInstant(archivedAt),
    keepUntil: formatInstant(keepUntil),
  };
}

function viewAnswer({ archive, pointTakenAt, ...view }: ArchiveView): ArchiveAnswer {
  return {
    ...archiveAnswer(archive),
    ...view,
    pointTakenAt: pointTakenAt === null ? null : formatInstant(pointTakenAt),
  };
}

function diffAnswer({ archive, disks }: ArchiveDiff): ArchiveDiffAnswer {
  return {
    ...archiveAnswer(archive),
    disks: disks.map((disk) => ({ ...disk, ranges: disk.ranges.map((range) => ({ ...range })) })),
  };
}
