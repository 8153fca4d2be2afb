import type { HostId } from '../domain/ids.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { PointSource } from './point-source.ts';
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
};

/** How the engine reaches hosts by id. */
export interface HostDirectory {
  /** Connects lazily: an unreachable host is noticed by its first call, not here. Throws `host-missing`. */
  ports(id: HostId): Promise<HostPorts>;
}
