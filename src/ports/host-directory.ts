import type { HostId } from '../domain/ids.ts';
import type { HostEpochs } from './host-epochs.ts';
import type { Hypervisor, HypervisorView } from './hypervisor.ts';
import type { PointSource, PointSourceView } from './point-source.ts';
import type { ProductionDisks } from './production-disks.ts';
import type { ReplicaStore } from './replica-store.ts';
import type { StartGuard } from './start-guard.ts';
import type { TestBench } from './test-bench.ts';

/** Everything that runs beside one hypervisor. */
export type HostPorts = {
  readonly hypervisor: Hypervisor;
  readonly pointSource: PointSource;
  readonly store: ReplicaStore;
  readonly productionDisks: ProductionDisks;
  readonly testBench: TestBench;
  readonly startGuard: StartGuard;
  readonly epochs: HostEpochs;
};

/** The same, without the commands that carry no epoch. */
export type HostViews = Omit<HostPorts, 'hypervisor' | 'pointSource'> & {
  readonly hypervisor: HypervisorView;
  readonly pointSource: PointSourceView;
};

/** How the engine reaches hosts by id. Connects lazily: an unreachable host is noticed by its first call, not here. */
export interface HostDirectory {
  /** Throws `host-missing`. */
  ports(id: HostId): Promise<HostViews>;
  /** To act, once `epochs` has admitted whoever does; see `actingFor` of the engine. Throws `host-missing`. */
  commands(id: HostId): Promise<HostPorts>;
}
