import { UnderstudyError } from '../../domain/error.ts';
import { silenceFor } from '../../domain/host/silence.ts';
import { type OperationRecord, RUNS_BESIDE } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type {
  CommandOptions,
  Overview,
  PointSelector,
  Reference,
  ReplicaView,
} from '../../ports/controller.ts';
import type { SilentHost } from '../../ports/silent-host.ts';
import { isSilent } from '../watch-hosts.ts';
import { accept } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { byName, findPoint, findReplica, hostNameOf } from './references.ts';
import { lastTestOf } from './tests.ts';

export async function overview(ports: ControllerPorts): Promise<Overview> {
  const replicas = await listReplicas(ports);
  return {
    hostCount: (await ports.catalog.hosts()).length,
    silentHosts: await silentHosts(ports, replicas),
    jobCount: (await ports.catalog.jobs()).length,
    replicas,
    openOperations: await ports.durable.operations({ open: true, limit: 100 }),
  };
}

async function silentHosts(
  { catalog, misses }: ControllerPorts,
  listed: readonly ReplicaView[],
): Promise<readonly SilentHost[]> {
  const found = (await catalog.hosts()).flatMap(({ value: host }): readonly SilentHost[] => {
    const missed = misses.get(host.id);
    if (missed === undefined || !isSilent(missed)) return [];
    const { since, because } = missed;
    const replicas = listed.flatMap(({ replica }) => {
      const meaning = silenceFor(replica, host.id);
      return meaning === null ? [] : [{ ...meaning, replica }];
    });
    return [{ host, since, because, replicas }];
  });
  return found.sort((one, other) => one.since - other.since);
}

/** Those that still are replicas: permanent and removed ones left the list. */
export async function listReplicas(ports: ControllerPorts): Promise<readonly ReplicaView[]> {
  const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
  const listed = replicas.filter(({ phase }) => phase !== 'Removed' && phase !== 'Permanent');
  listed.sort(byName);
  return Promise.all(listed.map((replica) => replicaView(ports, replica)));
}

export async function showReplica(
  ports: ControllerPorts,
  reference: Reference,
): Promise<ReplicaView> {
  return replicaView(ports, (await findReplica(ports.catalog, reference)).value);
}

async function replicaView(ports: ControllerPorts, replica: Replica): Promise<ReplicaView> {
  const { catalog, durable } = ports;
  const home = replica.failback?.home ?? null;
  const job = replica.jobId === null ? null : await catalog.job(replica.jobId);
  const points = await catalog.points(replica.id);
  const all = await durable.operations({ subject: replica.id, open: true, limit: 100 });
  const openTests = all.filter(({ kind }) => kind === 'test-failover' || kind === 'bisect');
  const others = all.filter((operation) => !openTests.includes(operation));
  const open = others.find(({ kind }) => !RUNS_BESIDE.includes(kind)) ?? others[0];
  return {
    replica,
    jobName: job?.value.name ?? null,
    sourceHostName: await hostNameOf(catalog, replica.sourceHostId),
    targetHostName: await hostNameOf(catalog, replica.targetHostId),
    homeHostName: home === null ? null : await hostNameOf(catalog, home.hostId),
    newestPointTakenAt: points.at(-1)?.takenAt ?? null,
    pointCount: points.length,
    conditions: await catalog.conditions(replica.id),
    openOperation: open ?? null,
    openTests,
    lastTest: await lastTestOf(ports, replica),
  };
}

export async function rescan(
  ports: ControllerPorts,
  reference: Reference,
  repair: boolean,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `${repair ? 'Rescan and repair' : 'Rescan'} ${replica.name}`;
  return accept(
    ports,
    replica,
    { kind: 'rescan', allowedAs: 'rescan', title, input: { repair } },
    options,
  );
}

export async function verify(
  ports: ControllerPorts,
  reference: Reference,
  selector: PointSelector | null,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const points = await ports.catalog.points(replica.id);
  const chosen = selector === null ? points : [findPoint(points, selector, replica)];
  if (chosen.length === 0) {
    throw new UnderstudyError('point-missing', { replica: replica.name, point: 'yet' });
  }
  const title = `Verify ${chosen.length === 1 ? '1 restore point' : `${chosen.length} restore points`} of ${replica.name}`;
  const input = { pointIds: chosen.map((point) => point.id) };
  return accept(ports, replica, { kind: 'verify', allowedAs: 'verify', title, input }, options);
}

export async function removeReplica(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Remove ${replica.name} from the configuration`;
  const order = { kind: 'remove-replica', allowedAs: 'remove', title, input: {} } as const;
  return accept(ports, replica, order, options);
}

export async function deleteReplica(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Delete ${replica.name} from disk`;
  const order = { kind: 'delete-replica', allowedAs: 'delete', title, input: {} } as const;
  return accept(ports, replica, order, options);
}

export async function listPoints(
  ports: ControllerPorts,
  reference: Reference,
): Promise<readonly RestorePoint[]> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return ports.catalog.points(replica.id);
}

export async function showPoint(
  ports: ControllerPorts,
  reference: Reference,
  selector: PointSelector,
): Promise<RestorePoint> {
  return (await locatePoint(ports, reference, selector)).point;
}

export async function setPointPinned(
  ports: ControllerPorts,
  reference: Reference,
  selector: PointSelector,
  isPinned: boolean,
): Promise<RestorePoint> {
  const { point } = await locatePoint(ports, reference, selector);
  const pinned = { ...point, isPinned };
  await ports.catalog.apply([{ type: 'point-saved', point: pinned }]);
  return pinned;
}

async function locatePoint(
  ports: ControllerPorts,
  reference: Reference,
  selector: PointSelector,
): Promise<{ readonly replica: Replica; readonly point: RestorePoint }> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return { replica, point: findPoint(await ports.catalog.points(replica.id), selector, replica) };
}
