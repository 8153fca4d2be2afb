/**
 * Where everything of the HTTP API is. Plain values without schemas, so that a client which only speaks
 * the API starts without loading a validator; `routes.ts` says what each endpoint takes and answers.
 *
 * `:name` in a path is a reference: an id, a unique name, or the unique beginning of an id,
 * percent-encoded. Verbs that begin durable work answer 202 with the operation.
 */
export type Endpoint = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
};

export const ENDPOINTS = {
  overview: { method: 'GET', path: '/api/v1/overview' },
  version: { method: 'GET', path: '/api/v1/version' },

  addHost: { method: 'POST', path: '/api/v1/hosts' },
  listHosts: { method: 'GET', path: '/api/v1/hosts' },
  showHost: { method: 'GET', path: '/api/v1/hosts/:host' },
  removeHost: { method: 'DELETE', path: '/api/v1/hosts/:host' },
  showGuard: { method: 'GET', path: '/api/v1/hosts/:host/guard' },
  installGuard: { method: 'POST', path: '/api/v1/hosts/:host/guard' },
  removeGuard: { method: 'DELETE', path: '/api/v1/hosts/:host/guard' },
  liftGuard: { method: 'POST', path: '/api/v1/hosts/:host/guard/:vm/lift' },
  listVms: { method: 'GET', path: '/api/v1/hosts/:host/vms' },

  createJob: { method: 'POST', path: '/api/v1/jobs' },
  previewJob: { method: 'POST', path: '/api/v1/job-preview' },
  listJobs: { method: 'GET', path: '/api/v1/jobs' },
  showJob: { method: 'GET', path: '/api/v1/jobs/:job' },
  changeJob: { method: 'POST', path: '/api/v1/jobs/:job/change' },
  previewJobChange: { method: 'POST', path: '/api/v1/jobs/:job/change-preview' },
  runJob: { method: 'POST', path: '/api/v1/jobs/:job/run' },
  pauseJob: { method: 'POST', path: '/api/v1/jobs/:job/pause' },
  resumeJob: { method: 'POST', path: '/api/v1/jobs/:job/resume' },
  deleteJob: { method: 'DELETE', path: '/api/v1/jobs/:job' },

  listReplicas: { method: 'GET', path: '/api/v1/replicas' },
  showReplica: { method: 'GET', path: '/api/v1/replicas/:replica' },
  seedReplica: { method: 'POST', path: '/api/v1/replicas/:replica/seed' },
  rescanReplica: { method: 'POST', path: '/api/v1/replicas/:replica/rescan' },
  verifyReplica: { method: 'POST', path: '/api/v1/replicas/:replica/verify' },
  removeReplica: { method: 'POST', path: '/api/v1/replicas/:replica/remove' },
  deleteReplica: { method: 'POST', path: '/api/v1/replicas/:replica/delete' },

  listPoints: { method: 'GET', path: '/api/v1/replicas/:replica/points' },
  showPoint: { method: 'GET', path: '/api/v1/replicas/:replica/points/:point' },
  pinPoint: { method: 'POST', path: '/api/v1/replicas/:replica/points/:point/pin' },
  unpinPoint: { method: 'POST', path: '/api/v1/replicas/:replica/points/:point/unpin' },

  previewFailover: { method: 'POST', path: '/api/v1/replicas/:replica/failover-preview' },
  failover: { method: 'POST', path: '/api/v1/replicas/:replica/failover' },
  plannedFailover: { method: 'POST', path: '/api/v1/replicas/:replica/planned-failover' },
  undoFailover: { method: 'POST', path: '/api/v1/replicas/:replica/undo-failover' },
  previewFailback: { method: 'POST', path: '/api/v1/replicas/:replica/failback-preview' },
  failback: { method: 'POST', path: '/api/v1/replicas/:replica/failback' },
  previewSwitchOver: { method: 'POST', path: '/api/v1/replicas/:replica/switch-over-preview' },
  switchOver: { method: 'POST', path: '/api/v1/replicas/:replica/switch-over' },
  cancelFailback: { method: 'POST', path: '/api/v1/replicas/:replica/cancel-failback' },
  commitFailback: { method: 'POST', path: '/api/v1/replicas/:replica/commit-failback' },
  undoFailback: { method: 'POST', path: '/api/v1/replicas/:replica/undo-failback' },
  permanentFailover: { method: 'POST', path: '/api/v1/replicas/:replica/permanent-failover' },

  previewHop: { method: 'POST', path: '/api/v1/replicas/:replica/hop-preview' },
  hop: { method: 'POST', path: '/api/v1/replicas/:replica/hop' },

  listArchives: { method: 'GET', path: '/api/v1/replicas/:replica/archives' },
  diffArchive: { method: 'GET', path: '/api/v1/replicas/:replica/archives/:archive/diff' },
  keepArchive: { method: 'POST', path: '/api/v1/replicas/:replica/archives/:archive/keep' },
  deleteArchive: { method: 'POST', path: '/api/v1/replicas/:replica/archives/:archive/delete' },
  exportArchive: { method: 'POST', path: '/api/v1/replicas/:replica/archives/:archive/export' },
  exportPoint: { method: 'POST', path: '/api/v1/replicas/:replica/points/:point/export' },
  fenceSource: { method: 'POST', path: '/api/v1/replicas/:replica/fence' },
  unfenceSource: { method: 'POST', path: '/api/v1/replicas/:replica/unfence' },
  testFailover: { method: 'POST', path: '/api/v1/replicas/:replica/test-failover' },
  bisect: { method: 'POST', path: '/api/v1/replicas/:replica/bisect' },
  endTest: { method: 'POST', path: '/api/v1/tests/:operation/end' },
  testEvidence: { method: 'GET', path: '/api/v1/tests/:operation/evidence/:test/:name' },

  rebuild: { method: 'POST', path: '/api/v1/rebuild' },

  listOperations: { method: 'GET', path: '/api/v1/operations' },
  showOperation: { method: 'GET', path: '/api/v1/operations/:operation' },
  retryOperation: { method: 'POST', path: '/api/v1/operations/:operation/retry' },
  answerOperation: { method: 'POST', path: '/api/v1/operations/:operation/answer' },
  cancelOperation: { method: 'POST', path: '/api/v1/operations/:operation/cancel' },
} as const satisfies Record<string, Endpoint>;

export type EndpointName = keyof typeof ENDPOINTS;

/** Server-sent events; not in the table because they answer a stream. */
export const OPERATION_EVENTS_PATH = '/api/v1/operations/:operation/events';
export const ALL_EVENTS_PATH = '/api/v1/events';

/** A stream on which nothing has happened for so long carries a comment, which shows that the server is there. */
export const STREAM_BEAT_MS = 5000;

/** A repeated request with the same key and the same content begins nothing anew. */
export const IDEMPOTENCY_HEADER = 'idempotency-key';

/** The path with every `:name` replaced by its percent-encoded value. */
export function fillPath(path: string, parameters: Readonly<Record<string, string>>): string {
  return path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(parameters[name] ?? ''));
}
