/**
 * A world made of air: hosts, VMs with block contents, replica folders, links, a clock and faults, all in memory and
 * all deterministic from a seed. It implements the ports of the product, so that the production engine runs
 * in it unchanged; what is in it survives its controllers, as the real world does.
 *
 *   const world = createWorld({ seed: 1 });
 *   const production = world.addHost({ id: hostId('production') });
 *   const vm = world.addVm(production, { name: 'web', disks: [{ key, sizeBytes }] });
 *   const controller = world.connect();          // its life ends with a crash fault; then connect again
 *   await world.clock.run(useThePorts(controller));
 */
import { UnderstudyError } from '../domain/error.ts';
import { type HostId, layerId, vmId } from '../domain/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostDirectory } from '../ports/host-directory.ts';
import type { Ids } from '../ports/ids.ts';
import type { Mover } from '../ports/mover.ts';
import { strike } from './calamities.ts';
import {
  type CallGate,
  type Controller,
  type CrashStyle,
  createCallGate,
  kill,
  type LogLine,
} from './call-gate.ts';
import { type ClockMode, createVirtualClock, type VirtualClock } from './clock.ts';
import { createEndpoints } from './endpoints.ts';
import { CrashSignal, createFaultInjector, type FaultInjector } from './faults.ts';
import {
  createSimulatedEpochs,
  createSimulatedHost,
  type HostSpec,
  type SimulatedHost,
  type Surroundings,
} from './host.ts';
import { createSimulatedHypervisor } from './hypervisor.ts';
import { createSeededIds } from './ids.ts';
import { createSimulatedMover, type Link } from './mover.ts';
import { createSimulatedPointSource } from './point-source.ts';
import { createSimulatedProductionDisks } from './production-disks.ts';
import { createRandom, type Random } from './random.ts';
import { createSimulatedStartGuard } from './start-guard.ts';
import { createSimulatedStore } from './store.ts';
import { createSimulatedTestBench } from './test-bench.ts';
import type { SimulatedVm } from './vm.ts';
import { createVm, type VmSpec } from './vm-factory.ts';

export type World = Surroundings & {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly ids: Ids;
  readonly faults: FaultInjector;
  /** One line per call that has ended, in order. Empty in a world without observers. */
  readonly log: readonly LogLine[];
  readonly hosts: ReadonlyMap<HostId, SimulatedHost>;
  addHost(spec: HostSpec): SimulatedHost;
  addVm(host: SimulatedHost, spec: VmSpec): SimulatedVm;
  /** Throws `host-missing`. */
  host(id: HostId): SimulatedHost;
  /** The way between two hosts, to be changed in place; one and the same in both directions. */
  link(a: HostId, b: HostId): Link;
  /** The life of one controller. */
  connect(options?: ConnectOptions): ControllerView;
};

export type ConnectOptions = {
  readonly name?: string;
  /** What calls of the dead controller do; without it they reject with CrashSignal. */
  readonly crashStyle?: CrashStyle;
  /** Called at the instant of death, before anything else can run: close the journal here. */
  readonly onCrash?: (crash: CrashSignal) => void;
};

/** The ports as one controller sees them. After its death none of them does anything. */
export type ControllerView = {
  readonly hosts: HostDirectory;
  readonly mover: Mover;
  readonly clock: Clock;
  readonly ids: Ids;
  isDead(): boolean;
  /** Dies now, as by kill -9. */
  kill(): void;
};

const LATENCY_MS = 1;
const BYTES_PER_SECOND = 100_000_000;

export type WorldSpec = {
  readonly seed: number;
  readonly mode?: ClockMode;
  /** False: it keeps no log and no instants, so that it grows with what lies in it and not with what happened. */
  readonly isObserved?: boolean;
};

export function createWorld(spec: WorldSpec): World {
  const random = createRandom({ seed: spec.seed });
  const ids = createSeededIds({ random: random.fork('ids') });
  const clock = createVirtualClock({ mode: spec.mode ?? 'automatic' });
  const around: Surroundings = {
    clock,
    files: new Map(),
    endpoints: createEndpoints(),
    instants: [],
    isObserved: spec.isObserved ?? true,
  };
  const faults = createFaultInjector();
  const log: LogLine[] = [];
  const hosts = new Map<HostId, SimulatedHost>();
  const links = new Map<string, Link>();
  const losses = random.fork('packet losses');
  const newVmId = () => vmId(ids.uuid());
  let controllers = 0;

  function hostOf(id: HostId): SimulatedHost {
    const host = hosts.get(id);
    if (host === undefined) throw new UnderstudyError('host-missing', { host: id });
    return host;
  }

  function link(a: HostId, b: HostId): Link {
    const name = [a, b].sort().join(' ');
    const present = links.get(name);
    if (present !== undefined) return present;
    const made = {
      isUp: true,
      latencyMs: LATENCY_MS,
      bytesPerSecond: BYTES_PER_SECOND,
      lossRate: 0,
    };
    links.set(name, made);
    return made;
  }

  function hostPorts(host: SimulatedHost, gate: CallGate) {
    const newLayerId = () => layerId(ids.fresh('ly'));
    return {
      hypervisor: createSimulatedHypervisor({
        host,
        around,
        gate,
        newVmId,
        reachable: () =>
          [...hosts.values()].filter(
            (other) => other === host || (!other.isUnreachable && link(host.id, other.id).isUp),
          ),
      }),
      pointSource: createSimulatedPointSource({ host, around, gate }),
      store: createSimulatedStore({ host, around, gate, newLayerId }),
      productionDisks: createSimulatedProductionDisks({ host, around, gate, newVmId }),
      testBench: createSimulatedTestBench({ host, around, gate, newVmId }),
      startGuard: createSimulatedStartGuard({ host, gate }),
      epochs: createSimulatedEpochs(host),
    };
  }

  function connect(options: ConnectOptions = {}): ControllerView {
    controllers += 1;
    const controller: Controller = {
      name: options.name ?? `controller-${controllers}`,
      crashStyle: options.crashStyle ?? 'throw',
      isDead: false,
      inFlight: new Set(),
      onCrash: (crash) => options.onCrash?.(crash),
    };
    const gate = createCallGate({
      clock,
      faults,
      log: around.isObserved ? log : null,
      controller,
      strike: (host, trouble) => strike(world, host, trouble),
    });
    const connected = async (id: HostId) => hostPorts(hostOf(id), gate);
    return {
      hosts: { ports: connected, commands: connected },
      mover: createSimulatedMover({ around, random: losses, hostOf, linkBetween: link, gate }),
      clock: { now: clock.now, monotonicMs: clock.monotonicMs, sleep: gate.sleep },
      ids,
      isDead: () => controller.isDead,
      kill: () => kill(controller, new CrashSignal('kill')),
    };
  }

  const world: World = {
    ...around,
    random,
    ids,
    faults,
    log,
    hosts,
    addHost: (hostSpec) => {
      const host = createSimulatedHost(hostSpec);
      hosts.set(host.id, host);
      return host;
    },
    addVm: (host, vmSpec) => createVm({ host, around, newVmId }, vmSpec),
    host: hostOf,
    link,
    connect,
  };
  return world;
}
