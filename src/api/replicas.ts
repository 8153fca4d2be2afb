import type { OverviewAnswer, ReplicaAnswer, SilentHostAnswer } from '../contract/replica.ts';
import { formatInstant } from '../domain/instant.ts';
import { allowedCommands, allowedOperations } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { seedName } from '../domain/replication/seed.ts';
import type { Controller, Overview, ReplicaView } from '../ports/controller.ts';
import type { SilentHost } from '../ports/silent-host.ts';
import { archiveAnswer } from './archives.ts';
import { failbackAnswer } from './failbacks.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer } from './operations.ts';
import { pointSelector } from './point-selector.ts';

type Verbs =
  | 'listReplicas'
  | 'showReplica'
  | 'seedReplica'
  | 'rescanReplica'
  | 'verifyReplica'
  | 'removeReplica'
  | 'deleteReplica';

export function replicaHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    listReplicas: async ({ options }) => ({
      items: (await controller.replicas(options)).map(replicaAnswer),
    }),
    showReplica: async ({ parameters, options }) =>
      replicaAnswer(await controller.replica(parameters.replica, options)),
    seedReplica: async ({ parameters, body, options }) =>
      replicaAnswer(await controller.seedReplica(parameters.replica, body.from, options)),
    rescanReplica: async ({ parameters, body, options }) =>
      operationAnswer(await controller.rescan(parameters.replica, body.repair, options)),
    verifyReplica: async ({ parameters, body, options }) => {
      const point = body.point === undefined ? null : pointSelector(body.point);
      return operationAnswer(await controller.verify(parameters.replica, point, options));
    },
    removeReplica: async ({ parameters, options }) =>
      operationAnswer(await controller.removeReplica(parameters.replica, options)),
    deleteReplica: async ({ parameters, options }) =>
      operationAnswer(await controller.deleteReplica(parameters.replica, options)),
  };
}

export function overviewAnswer(overview: Overview, version: string): OverviewAnswer {
  return {
    version,
    hostCount: overview.hostCount,
    silentHosts: overview.silentHosts.map(silentHostAnswer),
    jobCount: overview.jobCount,
    replicas: overview.replicas.map(replicaAnswer),
    openOperations: overview.openOperations.map(operationAnswer),
  };
}

function silentHostAnswer({ host, since, because, replicas }: SilentHost): SilentHostAnswer {
  return {
    hostId: host.id,
    hostName: host.name,
    since: formatInstant(since),
    because,
    replicas: replicas.map(({ replica, role, meaning }) => ({
      replicaId: replica.id,
      replicaName: replica.name,
      role,
      meaning,
    })),
  };
}

function replicaAnswer(view: ReplicaView): ReplicaAnswer {
  const { replica, conditions, openOperation, newestPointTakenAt } = view;
  return {
    id: replica.id,
    name: replica.name,
    jobId: replica.jobId,
    jobName: view.jobName,
    sourceHostId: replica.sourceHostId,
    sourceHostName: view.sourceHostName,
    sourceVmId: replica.sourceVmId,
    sourceVmName: replica.sourceVmName,
    targetHostId: replica.targetHostId,
    targetHostName: view.targetHostName,
    targetVmId: replica.targetVmId,
    phase: replica.phase,
    epoch: replica.epoch,
    newestPointId: replica.newestPointId,
    newestPointTakenAt: newestPointTakenAt === null ? null : formatInstant(newestPointTakenAt),
    pointCount: view.pointCount,
    seed: replica.seed === null ? null : { type: replica.seed.type, name: seedName(replica.seed) },
    failover: failoverAnswer(replica.failover),
    failback:
      replica.failback === null ? null : failbackAnswer(replica.failback, view.homeHostName ?? ''),
    leftFencedNics: replica.leftFencedNics === null ? null : [...replica.leftFencedNics],
    archives: replica.archives.map(archiveAnswer),
    conditions: conditions.map(({ name, message, since }) => ({
      name,
      message,
      since: formatInstant(since),
    })),
    openOperation: openOperation === null ? null : operationAnswer(openOperation),
    openTests: view.openTests.map(operationAnswer),
    lastTest: lastTestAnswer(view.lastTest),
    allowedOperations: [...allowedOperations(replica.phase)],
    allowedCommands: [...allowedCommands(replica.phase)],
    createdAt: formatInstant(replica.createdAt),
  };
}

function failoverAnswer(failover: Replica['failover']): ReplicaAnswer['failover'] {
  if (failover === null) return null;
  const fencedNics = failover.fencedNics === null ? null : [...failover.fencedNics];
  return { ...failover, fencedNics, startedAt: formatInstant(failover.startedAt) };
}

function lastTestAnswer(lastTest: ReplicaView['lastTest']): ReplicaAnswer['lastTest'] {
  if (lastTest === null) return null;
  const { at, lastPassedAt } = lastTest;
  return {
    ...lastTest,
    at: formatInstant(at),
    lastPassedAt: lastPassedAt === null ? null : formatInstant(lastPassedAt),
  };
}
