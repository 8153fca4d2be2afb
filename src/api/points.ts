import type { PointAnswer, PointDetailAnswer } from '../contract/point.ts';
import { formatInstant } from '../domain/instant.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Controller } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';
import { pointSelector } from './point-selector.ts';

type Verbs = 'listPoints' | 'showPoint' | 'pinPoint' | 'unpinPoint';

export function pointHandlers(controller: Controller): Pick<Handlers, Verbs> {
  const pinning =
    (isPinned: boolean): Handlers['pinPoint'] =>
    async ({ parameters, options }) => {
      const point = pointSelector(parameters.point);
      return pointAnswer(
        await controller.setPointPinned(parameters.replica, point, isPinned, options),
      );
    };
  return {
    listPoints: async ({ parameters, options }) => ({
      items: (await controller.points(parameters.replica, options)).map(pointAnswer),
    }),
    showPoint: async ({ parameters, options }) => {
      const point = pointSelector(parameters.point);
      return pointDetail(await controller.point(parameters.replica, point, options));
    },
    pinPoint: pinning(true),
    unpinPoint: pinning(false),
  };
}

function pointAnswer(point: RestorePoint): PointAnswer {
  return {
    id: point.id,
    replicaId: point.replicaId,
    takenAt: formatInstant(point.takenAt),
    sealedAt: formatInstant(point.sealedAt),
    consistency: point.consistency,
    disks: point.disks.map((disk) => ({ ...disk })),
    rootHash: point.rootHash,
    isPinned: point.isPinned,
  };
}

function pointDetail(point: RestorePoint): PointDetailAnswer {
  const { vm } = point;
  return {
    ...pointAnswer(point),
    vm: {
      id: vm.id,
      name: vm.name,
      memoryBytes: vm.memoryBytes,
      cpuCount: vm.cpuCount,
      nics: vm.nics.map(({ mac, network, isConnected }) => ({ mac, network, isConnected })),
      configuration: { ...vm.configuration },
    },
  };
}
