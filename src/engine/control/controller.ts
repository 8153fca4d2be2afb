import type { Controller } from '../../ports/controller.ts';
import * as archives from './archives.ts';
import { changeJob, previewJobChange } from './change-job.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { createJob, previewJob } from './create-job.ts';
import * as failbacks from './failbacks.ts';
import { failover, permanentFailover, previewFailover, undoFailover } from './failovers.ts';
import { fenceSource, unfenceSource } from './fences.ts';
import * as guards from './guards.ts';
import { hop, previewHop } from './hops.ts';
import { addHost, listHosts, listVms, removeHost, showHost } from './hosts.ts';
import { deleteJob, listJobs, setJobPaused, showJob } from './jobs.ts';
import {
  answerOperation,
  cancelOperation,
  listOperations,
  retryOperation,
  showOperation,
} from './operations.ts';
import { plannedFailover } from './planned-failovers.ts';
import { previewSwitchOver } from './preview-switchover.ts';
import { rebuild } from './rebuild.ts';
import * as replicas from './replicas.ts';
import { runJob } from './run-job.ts';
import { seedReplica } from './seeds.ts';
import { bisect, endTest, testEvidence, testFailover } from './tests.ts';
import { waitsOf } from './waits.ts';

/** One face for whoever asks: each verb is a function of its noun's file. */
export function createController(ports: ControllerPorts): Controller {
  return {
    overview: () => replicas.overview(ports),
    addHost: (request, options) => addHost(ports, request, options),
    hosts: () => listHosts(ports),
    host: (reference, options) => showHost(ports, reference, options),
    removeHost: (reference) => removeHost(ports, reference),
    guard: (host, options) => guards.showGuard(ports, host, options),
    installGuard: (host, folder, options) => guards.installGuard(ports, host, folder, options),
    removeGuard: (host, options) => guards.removeGuard(ports, host, options),
    liftGuard: (host, vm, options) => guards.liftGuard(ports, host, vm, options),
    vms: (host, options) => listVms(ports, host, options),
    createJob: (request, options) => createJob(ports, request, options),
    previewJob: (request, options) => previewJob(ports, request, options),
    changeJob: (job, change, options) => changeJob(ports, job, change, options),
    previewJobChange: (job, change, options) => previewJobChange(ports, job, change, options),
    jobs: () => listJobs(ports),
    job: (reference) => showJob(ports, reference),
    runJob: (job, vms, options) => runJob(ports, job, vms, options),
    setJobPaused: (job, isPaused) => setJobPaused(ports, job, isPaused),
    deleteJob: (job, options) => deleteJob(ports, job, options),
    replicas: () => replicas.listReplicas(ports),
    replica: (reference) => replicas.showReplica(ports, reference),
    seedReplica: (replica, order, options) => seedReplica(ports, replica, order, options),
    rescan: (replica, repair, options) => replicas.rescan(ports, replica, repair, options),
    verify: (replica, point, options) => replicas.verify(ports, replica, point, options),
    removeReplica: (replica, options) => replicas.removeReplica(ports, replica, options),
    deleteReplica: (replica, options) => replicas.deleteReplica(ports, replica, options),
    points: (replica) => replicas.listPoints(ports, replica),
    point: (replica, point) => replicas.showPoint(ports, replica, point),
    setPointPinned: (replica, point, isPinned) =>
      replicas.setPointPinned(ports, replica, point, isPinned),
    previewFailover: (replica, order, options) => previewFailover(ports, replica, order, options),
    failover: (replica, order, options) => failover(ports, replica, order, options),
    plannedFailover: (replica, order, options) => plannedFailover(ports, replica, order, options),
    undoFailover: (replica, order, options) => undoFailover(ports, replica, order, options),
    previewFailback: (replica, order, options) =>
      failbacks.previewFailback(ports, replica, order, options),
    failback: (replica, order, options) => failbacks.failback(ports, replica, order, options),
    previewSwitchOver: (replica, options) => previewSwitchOver(ports, replica, options),
    switchOver: (replica, order, options) => failbacks.switchOver(ports, replica, order, options),
    cancelFailback: (replica, options) => failbacks.cancelFailback(ports, replica, options),
    commitFailback: (replica, options) => failbacks.commitFailback(ports, replica, options),
    undoFailback: (replica, order, options) =>
      failbacks.undoFailback(ports, replica, order, options),
    permanentFailover: (replica, options) => permanentFailover(ports, replica, options),
    previewHop: (replica, order, options) => previewHop(ports, replica, order, options),
    hop: (replica, order, options) => hop(ports, replica, order, options),
    archives: (replica, options) => archives.listArchives(ports, replica, options),
    archiveDiff: (replica, archive, options) =>
      archives.diffArchive(ports, replica, archive, options),
    keepArchive: (replica, archive, keepUntil, options) =>
      archives.keepArchive(ports, replica, archive, { keepUntil, ...options }),
    deleteArchive: (replica, archive, options) =>
      archives.deleteArchive(ports, replica, archive, options),
    exportArchive: (replica, archive, options) =>
      archives.exportArchive(ports, replica, archive, options),
    exportPoint: (replica, point, options) => archives.exportPoint(ports, replica, point, options),
    rebuild: (order, options) => rebuild(ports, order, options),
    fenceSource: (replica, fence, options) => fenceSource(ports, replica, fence, options),
    unfenceSource: (replica, accepts, options) => unfenceSource(ports, replica, accepts, options),
    testFailover: (replica, order, options) => testFailover(ports, replica, order, options),
    bisect: (replica, probes, options) => bisect(ports, replica, probes, options),
    endTest: (operation) => endTest(ports, operation),
    testEvidence: (operation, file, options) => testEvidence(ports, operation, file, options),
    operations: (query) => listOperations(ports, query),
    operation: (reference) => showOperation(ports, reference),
    waits: (operations) => waitsOf(ports, operations),
    history: (operation, afterSequence) => ports.durable.history(operation, afterSequence),
    retryOperation: (reference) => retryOperation(ports, reference),
    answerOperation: (reference, answer) => answerOperation(ports, reference, answer),
    cancelOperation: (reference) => cancelOperation(ports, reference),
    subscribe: (listener) => ports.durable.subscribe(listener),
  };
}
