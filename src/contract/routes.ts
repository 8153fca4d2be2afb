/**
 * What every endpoint takes and answers: the API parses with it, clients take their types from it, and
 * the OpenAPI document is written from it. Requests are strict: an unknown field is an error, because a
 * misspelt option that is ignored is worse than none.
 */
import { z } from 'zod';
import { archiveDetailSchema, archiveDiffSchema, keepArchiveSchema } from './archive.ts';
import type { EndpointName } from './endpoints.ts';
import {
  failbackPreviewSchema,
  failbackRequestSchema,
  switchOverRequestSchema,
  undoFailbackSchema,
} from './failback.ts';
import {
  failoverPreviewSchema,
  failoverRequestSchema,
  fenceSourceSchema,
  hopRequestSchema,
  plannedFailoverSchema,
  undoFailoverSchema,
  unfenceSourceSchema,
} from './failover.ts';
import { guardSchema, installGuardSchema } from './guard.ts';
import { addHostSchema, hostDetailSchema, hostSchema, vmSchema } from './host.ts';
import {
  changeJobSchema,
  createJobSchema,
  jobChangedSchema,
  jobChangePreviewSchema,
  jobCreatedSchema,
  jobPreviewSchema,
  jobSchema,
  runJobSchema,
} from './job.ts';
import {
  answerOperationSchema,
  operationDetailSchema,
  operationFilterSchema,
  operationSchema,
  seenOperationSchema,
} from './operation.ts';
import { pointDetailSchema, pointSchema } from './point.ts';
import { rebuildReportSchema, rebuildRequestSchema } from './rebuild.ts';
import { overviewSchema, replicaSchema, rescanSchema, verifySchema } from './replica.ts';
import { seedReplicaSchema } from './seed.ts';
import { bisectSchema, evidenceSchema, testFailoverSchema } from './test-failover.ts';
import { listOf } from './values.ts';

/** A route without body or query takes an empty object there. */
export type Route = {
  readonly summary: string;
  readonly query: z.ZodType;
  readonly body: z.ZodType;
  readonly status: 200 | 201 | 202;
  readonly answer: z.ZodType;
};

const nothing = z.strictObject({});

function reading<A extends z.ZodType>(summary: string, answer: A) {
  return { summary, query: nothing, body: nothing, status: 200 as const, answer };
}

function changing<B extends z.ZodType, A extends z.ZodType>(summary: string, body: B, answer: A) {
  return { summary, query: nothing, body, status: 200 as const, answer };
}

/** Begins durable work: answers as soon as it is accepted. */
function beginning<B extends z.ZodType>(summary: string, body: B) {
  return { summary, query: nothing, body, status: 202 as const, answer: operationSchema };
}

const deleted = z.strictObject({ id: z.string(), name: z.string() });

export const ROUTES = {
  overview: reading('Everything at a glance', overviewSchema),
  version: reading('The version of the server', z.strictObject({ version: z.string() })),

  addHost: {
    ...changing('Add a host', addHostSchema, hostDetailSchema),
    status: 201 as const,
  },
  listHosts: reading('List hosts', listOf(hostSchema)),
  showHost: reading('Show a host, asking it', hostDetailSchema),
  removeHost: changing('Remove a host that no job or replica uses', nothing, deleted),
  showGuard: reading('Show what a host keeps from starting, with proof', guardSchema),
  installGuard: changing(
    'Let a host keep VMs that failed over from starting',
    installGuardSchema,
    guardSchema,
  ),
  removeGuard: changing('Take the start guard out of a host', nothing, deleted),
  liftGuard: changing('Let a VM start again, although its replica serves', nothing, guardSchema),
  listVms: reading('List the VMs of a host, asking it', listOf(vmSchema)),

  createJob: {
    ...changing('Create a replication job', createJobSchema, jobCreatedSchema),
    status: 201 as const,
  },
  previewJob: changing(
    'Say what a job would make; makes nothing',
    createJobSchema,
    jobPreviewSchema,
  ),
  listJobs: reading('List jobs', listOf(jobSchema)),
  showJob: reading('Show a job', jobSchema),
  changeJob: changing('Change settings of a job', changeJobSchema, jobChangedSchema),
  previewJobChange: changing(
    'Say what a change of a job would mean; changes nothing',
    changeJobSchema,
    jobChangePreviewSchema,
  ),
  runJob: {
    ...changing('Replicate now: one operation per VM', runJobSchema, listOf(operationSchema)),
    status: 202 as const,
  },
  pauseJob: changing('Stop scheduled runs', nothing, jobSchema),
  resumeJob: changing('Let scheduled runs happen again', nothing, jobSchema),
  deleteJob: changing('Delete a job; its replicas stay', nothing, deleted),

  listReplicas: reading('List replicas', listOf(replicaSchema)),
  showReplica: reading('Show a replica', replicaSchema),
  seedReplica: changing(
    'Say what its first run is compared with, before it',
    seedReplicaSchema,
    replicaSchema,
  ),
  rescanReplica: beginning('Compare what is recorded with what is there', rescanSchema),
  verifyReplica: beginning('Read restore points back and compare their hashes', verifySchema),
  removeReplica: beginning('Forget a replica; its VM and files stay', nothing),
  deleteReplica: beginning('Delete a replica with its VM and files', nothing),

  listPoints: reading('List the restore points of a replica, oldest first', listOf(pointSchema)),
  showPoint: reading('Show a restore point', pointDetailSchema),
  pinPoint: changing('Keep a restore point whatever retention says', nothing, pointSchema),
  unpinPoint: changing('Let retention take a restore point', nothing, pointSchema),

  previewFailover: changing(
    'Say what a failover would mean; changes nothing',
    failoverRequestSchema,
    failoverPreviewSchema,
  ),
  failover: beginning('Switch to the replica at a restore point', failoverRequestSchema),
  plannedFailover: beginning(
    'Switch to the replica without loss: the source is shut down first',
    plannedFailoverSchema,
  ),
  undoFailover: beginning('Go back to the source', undoFailoverSchema),
  previewFailback: changing(
    'Say what a failback would mean; changes nothing',
    failbackRequestSchema,
    failbackPreviewSchema,
  ),
  failback: beginning(
    'Copy what differs to production while the replica serves on',
    failbackRequestSchema,
  ),
  previewSwitchOver: changing(
    'Say what the switchover would mean; changes nothing',
    nothing,
    failbackPreviewSchema,
  ),
  switchOver: beginning('Let production take over from the replica', switchOverRequestSchema),
  cancelFailback: beginning('Give up a failback before its switchover', nothing),
  commitFailback: beginning('Keep production as it is, and protect it again', nothing),
  undoFailback: beginning('Go back to the replica after a switchover', undoFailbackSchema),
  permanentFailover: beginning('Make the replica an ordinary VM', nothing),

  previewHop: changing(
    'Say what a hop would mean; changes nothing',
    hopRequestSchema,
    failoverPreviewSchema,
  ),
  hop: beginning(
    'Move a replica that serves to another point; its writes are archived',
    hopRequestSchema,
  ),

  listArchives: reading('List archived branches, oldest first', listOf(archiveDetailSchema)),
  diffArchive: reading('What an archived branch has over what it lies over', archiveDiffSchema),
  keepArchive: beginning('Keep an archived branch until then', keepArchiveSchema),
  deleteArchive: beginning('Delete an archived branch now', nothing),
  exportArchive: beginning('Copy an archived branch to files that stand alone', nothing),
  exportPoint: beginning('Copy a restore point to files that stand alone', nothing),
  testFailover: {
    ...changing(
      'Boot restore points in isolation and probe them: one operation per point',
      testFailoverSchema,
      listOf(operationSchema),
    ),
    status: 202 as const,
  },
  bisect: beginning(
    'Find the newest restore point that passes the probes, and pin it',
    bisectSchema,
  ),
  endTest: changing('End the hold of a test failover', nothing, operationSchema),
  testEvidence: reading('A file that a test has kept, in base64', evidenceSchema),

  rebuild: changing(
    'Take up replicas that lie on the hosts and are not in the catalogue',
    rebuildRequestSchema,
    rebuildReportSchema,
  ),
  fenceSource: beginning('Cut the source of a failover off, with evidence', fenceSourceSchema),
  unfenceSource: beginning('Lift the fence around the source', unfenceSourceSchema),

  listOperations: {
    ...reading('List operations, newest first', listOf(seenOperationSchema)),
    query: operationFilterSchema,
  },
  showOperation: reading('Show an operation with its history', operationDetailSchema),
  retryOperation: beginning('Run a suspended operation again from where it failed', nothing),
  answerOperation: beginning('Tell an operation that asked what to do', answerOperationSchema),
  cancelOperation: beginning('Ask an operation to stop and undo what it did', nothing),
} satisfies Record<EndpointName, Route>;

export type RequestBody<Name extends EndpointName> = z.input<(typeof ROUTES)[Name]['body']>;
export type RequestQuery<Name extends EndpointName> = z.input<(typeof ROUTES)[Name]['query']>;
export type ParsedBody<Name extends EndpointName> = z.output<(typeof ROUTES)[Name]['body']>;
export type ParsedQuery<Name extends EndpointName> = z.output<(typeof ROUTES)[Name]['query']>;
export type Answer<Name extends EndpointName> = z.output<(typeof ROUTES)[Name]['answer']>;
