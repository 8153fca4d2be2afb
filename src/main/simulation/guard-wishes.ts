/** Moves that people make with start guards: what keeps a source from starting while its replica serves. */
import { reloadHost } from '../../simulator/start-guard.ts';
import { hostsOf, type Move, pick, type Scene, said } from './scene.ts';
import { BY_HAND } from './site.ts';

export const GUARD_WISHES: readonly Move[] = [
  {
    name: 'install a guard',
    weight: 2.5,
    act: async (scene) => {
      const { id } = scene.random.pick(hostsOf(scene));
      const answer = await scene.site.ask(async (controller) => {
        await controller.installGuard(id, `/${id}/hooks`, BY_HAND);
        return [];
      });
      return said(`install the guard of ${id}`, answer);
    },
  },
  {
    name: 'remove a guard',
    weight: 0.7,
    act: async (scene) => {
      const host = pick(
        scene,
        hostsOf(scene).filter(({ guard }) => guard !== 'absent'),
      );
      if (host === null) return null;
      const answer = await scene.site.ask(async (controller) => {
        await controller.removeGuard(host.id, BY_HAND);
        return [];
      });
      return said(`remove the guard of ${host.id}`, answer);
    },
  },
  {
    name: 'let a held VM start',
    weight: 1.5,
    act: async (scene) => {
      const held = pick(scene, heldVms(scene));
      if (held === null) return null;
      const { hostId, vmId } = held;
      const answer = await scene.site.ask(async (controller) => {
        await controller.liftGuard(hostId, vmId, BY_HAND);
        return [];
      });
      if (answer.type === 'begun') scene.site.acceptedDuplicates.add(vmId); // whoever lets it start answers for it
      return said(`let ${vmId} start on ${hostId}`, answer);
    },
  },
  {
    name: 'host reloaded',
    weight: 1.5,
    act: (scene) => {
      const host = pick(
        scene,
        hostsOf(scene).filter(({ guard }) => guard === 'dormant'),
      );
      if (host === null) return null;
      reloadHost(host);
      return `the daemon of ${host.id} is reloaded`;
    },
  },
];

function heldVms(scene: Scene) {
  return hostsOf(scene).flatMap(({ id, held }) =>
    [...held.values()].map(({ vmId }) => ({ hostId: id, vmId })),
  );
}
