/**
 * The ports of a host, for what is done there in the name of a replica: every command is given under the epoch that is
 * recorded for the replica at that moment. A controller on an old copy of its data is refused wherever the one in charge has
 * acted. An operation that raises the epoch on its way records that before any host hears of it, so its own commands, and those
 * of its way back, are never the old ones.
 */
import type { HostId, ReplicaId } from '../domain/ids.ts';
import type { CallOptions } from '../ports/call.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { HostEpochs } from '../ports/host-epochs.ts';
import type { Hypervisor, HypervisorView } from '../ports/hypervisor.ts';
import type { PointSource, PointSourceView } from '../ports/point-source.ts';
import type { ProductionDisks } from '../ports/production-disks.ts';
import type { EnginePorts } from './engine-ports.ts';
import { withEpoch } from './with-epoch.ts';

export async function actingFor(
  { hosts, catalog }: Pick<EnginePorts, 'hosts' | 'catalog'>,
  replicaId: ReplicaId,
  host: HostId,
): Promise<HostPorts> {
  const ports = await hosts.commands(host);
  const { hypervisor, pointSource, productionDisks, testBench, epochs } = ports;
  const by = authorityOf({ catalog, epochs }, replicaId);
  return {
    ...ports,
    hypervisor: { ...hypervisor, ...hypervisorCommands(hypervisor, by) },
    pointSource: { ...pointSource, ...pointSourceCommands(pointSource, by) },
    productionDisks: { ...productionDisks, ...productionCommands(productionDisks, by) },
    // To take a test of one's own away is everybody's right, and duty.
    testBench: { ...testBench, setUp: by.admitted(testBench.setUp) },
  };
}

type Command<Request, Answer, Options extends CallOptions> = (
  request: Request,
  options: Options,
) => Promise<Answer>;

type Authority = ReturnType<typeof authorityOf>;

function authorityOf(
  { catalog, epochs }: Pick<EnginePorts, 'catalog'> & { readonly epochs: HostEpochs },
  replicaId: ReplicaId,
) {
  /** Null: the replica was removed, and nobody contends for what is left of it. */
  const admittedEpoch = async (options: CallOptions): Promise<number | null> => {
    if ((await catalog.replica(replicaId)) === null) return null;
    return withEpoch({ catalog }, replicaId, async (epoch) => {
      await epochs.admit({ replicaId, epoch }, options);
      return epoch;
    });
  };
  return {
    /** A command that carries no epoch itself. */
    admitted<Request, Answer, Options extends CallOptions>(
      command: Command<Request, Answer, Options>,
    ): typeof command {
      return async (request, options) => {
        await admittedEpoch(options);
        return command(request, options);
      };
    },
    /** One that carries an epoch: whatever its operation knew when it began. */
    stamped<Request extends { readonly epoch: number }, Answer, Options extends CallOptions>(
      command: Command<Request, Answer, Options>,
    ): typeof command {
      return async (request, options) => {
        const epoch = (await admittedEpoch(options)) ?? request.epoch;
        return command({ ...request, epoch }, options);
      };
    },
  };
}

/** Whatever its view, which only looks, has not: a command that is forgotten here does not compile. */
function hypervisorCommands(
  hypervisor: Hypervisor,
  { admitted, stamped }: Authority,
): Omit<Hypervisor, keyof HypervisorView> {
  return {
    defineReplica: stamped(hypervisor.defineReplica),
    placeDisks: admitted(hypervisor.placeDisks),
    undefine: admitted(hypervisor.undefine),
    start: admitted(hypervisor.start),
    shutdown: admitted(hypervisor.shutdown),
    powerOff: admitted(hypervisor.powerOff),
    discardSavedState: admitted(hypervisor.discardSavedState),
    setNicsConnected: admitted(hypervisor.setNicsConnected),
    flatten: admitted(hypervisor.flatten),
  };
}

function pointSourceCommands(
  pointSource: PointSource,
  { admitted }: Authority,
): Omit<PointSource, keyof PointSourceView> {
  return {
    freeze: admitted(pointSource.freeze),
    end: admitted(pointSource.end),
    endAll: admitted(pointSource.endAll),
    sweepMarks: admitted(pointSource.sweepMarks),
  };
}

function productionCommands(
  disks: ProductionDisks,
  { stamped }: Authority,
): Omit<ProductionDisks, 'found'> {
  return {
    lay: stamped(disks.lay),
    settle: stamped(disks.settle),
    attach: stamped(disks.attach),
    park: stamped(disks.park),
    commit: stamped(disks.commit),
    drop: stamped(disks.drop),
  };
}
