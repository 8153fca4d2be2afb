/** What a random move sees and may touch. */
import type { Replica } from '../../domain/replica/replica.ts';
import type { Controller } from '../../ports/controller.ts';
import type { SimulatedHost } from '../../simulator/host.ts';
import type { Random } from '../../simulator/random.ts';
import type { SimulatedVm } from '../../simulator/vm.ts';
import type { Answer, Site } from './site.ts';

export type Scene = {
  readonly site: Site;
  /** This move's own stream, so that dropping other moves does not shift it. */
  readonly random: Random;
  /** As they are recorded at the moment, without those that ended. */
  readonly replicas: readonly Replica[];
  /** Undoes what troubles the world just now, by what it is. */
  readonly troubles: Map<string, () => void>;
};

/**
 * One kind of thing that can happen. `act` says what it does; null: there is nothing to do it to just now. `ask`ed
 * wishes are not waited for.
 */
export type Move = {
  readonly name: string;
  /** How often it comes, relative to the others. */
  readonly weight: number;
  readonly act: (scene: Scene) => Promise<string | null> | string | null;
};

export type Placed = { readonly host: SimulatedHost; readonly vm: SimulatedVm };

export function hostsOf({ site }: Scene): readonly SimulatedHost[] {
  return [...site.world.hosts.values()];
}

/** VMs of their own, no replicas. */
export function sourceVms(scene: Scene): readonly Placed[] {
  return allVms(scene).filter(({ vm }) => vm.state.replicaId === null);
}

/** Those whose disks and definition nobody of ours holds: a failback has parked the others, or lent them its layers. */
export function ownVms(scene: Scene): readonly Placed[] {
  return sourceVms(scene).filter(
    ({ host, vm }) => ![...host.failbacks.values()].some(({ vmId }) => vmId === vm.id),
  );
}

export function allVms(scene: Scene): readonly Placed[] {
  return hostsOf(scene).flatMap((host) => [...host.vms.values()].map((vm) => ({ host, vm })));
}

/** Null when there is none. */
export function pick<T>({ random }: Scene, items: readonly T[]): T | null {
  return items.length === 0 ? null : random.pick(items);
}

/** One in that phase; null when there is none. */
export function replicaIn(scene: Scene, ...phases: readonly Replica['phase'][]): Replica | null {
  return pick(
    scene,
    scene.replicas.filter(({ phase }) => phases.includes(phase)),
  );
}

export function said(wish: string, answer: Answer): string {
  if (answer.type === 'silent') return `${wish}: no answer`;
  if (answer.type === 'begun') return wish;
  const { error } = answer;
  const code = error instanceof Error && 'code' in error ? error.code : String(error);
  return `${wish}: refused, ${code}`;
}

export type Begin = Parameters<Site['ask']>[0];

async function wish(scene: Scene, what: string, replica: Replica, begin: Begin): Promise<string> {
  return said(`${what} ${replica.name}`, await scene.site.ask(begin));
}

/** A wish about a replica in one of these phases. */
export function about(
  name: string,
  weight: number,
  phases: readonly Replica['phase'][],
  begin: (controller: Controller, replica: Replica, scene: Scene) => ReturnType<Begin>,
): Move {
  return {
    name,
    weight,
    act: (scene) => {
      const replica = replicaIn(scene, ...phases);
      if (replica === null) return null;
      return wish(scene, name, replica, (controller) => begin(controller, replica, scene));
    },
  };
}
