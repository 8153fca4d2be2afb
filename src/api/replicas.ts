import type { OverviewAnswer, ReplicaAnswer, SilentHostAnswer } from '../contract/replica.ts';
import { formatInstant } from '../domain/instant.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import { allowedCommands, allowedOperations } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { seedName } from '../domain/replication/seed.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Controller, ReplicaView } from '../ports/controller.ts';
import type { SilentHost } from '../ports/silent-host.ts';
import { archiveAnswer } from './archives.ts';
import { failbackAnswer } from './failbacks.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer, seenOperationAnswer, type Waits } from './operations.ts';
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
    listReplicas: async ({ options }) => {
      const views = await controller.replicas(options);
      const waits = await controller.waits(views.flatMap(openOperations), options);
      return { items: views.map((view) => replicaAnswer(view, waits)) };
    },
    showReplica: async ({ parameters, options }) => {
      const view = await controller.replica(parameters.replica, options);
      return replicaAnswer(view, await controller.waits(openOperations(view), options));
    },
    seedReplica: async ({ parameters, body, options }) => {
      const view = await controller.seedReplica(parameters.replica, body.from, options);
      return replicaAnswer(view, await controller.waits(openOperations(view), options));
    },
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

/** The operations that its answer shows. */
function openOperations({ openOperation, openTests }: ReplicaView): readonly OperationRecord[] {
  return openOperation === null ? openTests : [openOperation, ...openTests];
}

export async function overviewAnswer(
  controller: Controller,
  version: string,
  options: CallOptions,
): Promise<OverviewAnswer> {
  const overview = await controller.overview(options);
  const shown = [...overview.openOperations, ...overview.replicas.flatMap(openOperations)];
  const waits = await controller.waits(shown, options);
  return {
    version,
    hostCount: overview.hostCount,
    silentHosts: overview.silentHosts.map(silentHostAnswer),
    jobCount: overview.jobCount,
    replicas: overview.replicas.map((view) => replicaAnswer(view, waits)),
    openOperations: overview.openOperations.map((one) => seenOperationAnswer(one, waits)),
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

function replicaAnswer(view: ReplicaView, waits: Waits): ReplicaAnswer {
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
    openOperation: openOperation === null ? null : seenOperationAnswer(openOperation, waits),
    openTests: view.openTests.map((one) => seenOperationAnswer(one, waits)),
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
