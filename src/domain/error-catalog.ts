/**
 * Every error of the product: what happened, and what the operator can do. The kind decides the HTTP
 * status, the exit code of the program and whether a step is tried again.
 *
 *   invalid    the request can never work as it stands          400  exit 2
 *   missing    something named does not exist                   404  exit 4
 *   conflict   the state of things forbids it right now         409  exit 3
 *   transient  trying again may help; steps are retried         503  exit 1
 *   cancelled  a person stopped it                              409  exit 5
 *   bug        we did not expect it                             500  exit 70
 */
export type ErrorKind = 'invalid' | 'missing' | 'conflict' | 'transient' | 'cancelled' | 'bug';

type CatalogEntry = {
  readonly kind: ErrorKind;
  /** One sentence; `{name}` is filled from the details. */
  readonly message: string;
  /** What a person can do next; empty only where the message says it all. */
  readonly remedy: string;
};

export const ERROR_CATALOG = {
  // invalid
  'ambiguous-reference': {
    kind: 'invalid',
    message: '{reference} could mean more than one: {candidates}.',
    remedy: 'Name one of them by its id, or by more of it.',
  },
  'corrupt-record': {
    kind: 'invalid',
    message: 'The record {record} in the catalogue cannot be read: {reason}.',
    remedy: 'Restore the data folder from a backup.',
  },
  'invalid-endpoint': {
    kind: 'invalid',
    message: 'The block endpoint {endpoint} cannot be used: {reason}.',
    remedy: '',
  },
  'invalid-file': {
    kind: 'invalid',
    message: 'The file {path} is not what it should be: {reason}.',
    remedy: 'Run `understudy replica rescan` to see what can be repaired.',
  },
  'invalid-id': { kind: 'invalid', message: 'Not a {what}: {value}.', remedy: '' },
  'invalid-name': {
    kind: 'invalid',
    message: 'The name {value} cannot be used for a {what}: {reason}.',
    remedy: '',
  },
  'invalid-request': { kind: 'invalid', message: '{reason}.', remedy: '' },
  'invalid-vm-configuration': {
    kind: 'invalid',
    message: 'The configuration of VM {vm} cannot be read: {reason}.',
    remedy: '',
  },
  'origin-refused': {
    kind: 'invalid',
    message: 'The request was refused: {reason}.',
    remedy: 'Speak to the server by its own address, and not from a web page of another site.',
  },
  'token-refused': {
    kind: 'invalid',
    message: 'The request carries no valid access token.',
    remedy: 'Use the data folder of this server (`--data`), or set UNDERSTUDY_TOKEN.',
  },
  'seed-unfit': {
    kind: 'invalid',
    message: 'The replica cannot be seeded from {seed}: {reason}.',
    remedy:
      'Put that right, or name another seed or none with `understudy replica seed`; `--help` has examples.',
  },
  'unsupported-disk': {
    kind: 'invalid',
    message: 'Disk {disk} of VM {vm} cannot be protected: {reason}.',
    remedy: 'Exclude the disk from the job, or move it to a qcow2 or raw file.',
  },

  // missing
  'branch-missing': {
    kind: 'missing',
    message: 'Replica {replica} has no branch {branch}.',
    remedy: 'See `understudy archive list {replica}`.',
  },
  'command-missing': {
    kind: 'missing',
    message: 'The program {command} cannot be started: {reason}.',
    remedy: 'Install it, or correct PATH.',
  },
  'failback-missing': {
    kind: 'missing',
    message: 'There is no failback {failback} on host {host}.',
    remedy: 'Cancel the failback and begin it anew.',
  },
  'evidence-missing': {
    kind: 'missing',
    message: 'There is no evidence {name} of test {test} any more.',
    remedy: 'Evidence is kept for the newest tests only; see `understudy test show`.',
  },
  'host-missing': {
    kind: 'missing',
    message: 'There is no host {host}.',
    remedy: 'See `understudy host list`.',
  },
  'job-missing': {
    kind: 'missing',
    message: 'There is no job {job}.',
    remedy: 'See `understudy job list`.',
  },
  'operation-missing': {
    kind: 'missing',
    message: 'There is no operation {operation}.',
    remedy: 'See `understudy operation list`.',
  },
  'point-missing': {
    kind: 'missing',
    message: 'Replica {replica} has no restore point {point}.',
    remedy: 'See `understudy point list {replica}`.',
  },
  'replica-missing': {
    kind: 'missing',
    message: 'There is no replica {replica}.',
    remedy: 'See `understudy replica list`.',
  },
  'route-missing': {
    kind: 'missing',
    message: 'The API has no {method} {path}.',
    remedy: 'See /openapi.json.',
  },
  'vm-not-in-job': {
    kind: 'missing',
    message: 'Job {job} has no VM {vm}.',
    remedy: 'See `understudy job show {job}`.',
  },
  'vm-missing': {
    kind: 'missing',
    message: 'There is no VM {vm} on host {host}.',
    remedy: 'See `understudy vm list {host}`.',
  },

  // conflict
  'access-denied': {
    kind: 'conflict',
    message: '{path} cannot be used by {who}: {reason}.',
    remedy: '{fix}',
  },
  'branch-needed': {
    kind: 'conflict',
    message: 'Branch {branch} of replica {replica} cannot be deleted: branch {over} lies over it.',
    remedy: 'Undo the failover that runs on {over}, or delete that archive first.',
  },
  'data-folder-in-use': {
    kind: 'conflict',
    message: 'The data folder {path} is used by another server.',
    remedy: 'Stop that server first; two must never share a folder.',
  },
  'already-protected': {
    kind: 'conflict',
    message: 'VM {vm} already has a replica on that host, made by job {job}.',
    remedy: 'To change that job, delete it: its replica is kept, and taken over by the new one.',
  },
  'disk-in-use': {
    kind: 'conflict',
    message: 'Disk {disk} of VM {vm} is in use: {reason}.',
    remedy: '',
  },
  'duplicate-refused': {
    kind: 'conflict',
    message:
      'Replica {replica} is connected: without its fence, VM {vm} would meet it on the network.',
    remedy: 'Undo the failover instead, or accept both with `--accept-duplicate`.',
  },
  'epoch-refused': {
    kind: 'conflict',
    message: 'Replica {replica} is at epoch {current}; a command of epoch {epoch} is refused.',
    remedy: 'Another controller or a newer operation took over; nothing was changed.',
  },
  'failback-refused': {
    kind: 'conflict',
    message: 'Replica {replica} cannot be failed back to VM {vm}: {reason}.',
    remedy: 'Fail back to a new location instead: `understudy failback {replica} --new`.',
  },
  'failback-merged': {
    kind: 'conflict',
    message:
      'The failback of replica {replica} cannot be undone: its commit has begun, and VM {vm} holds what was merged.',
    remedy: 'Finish it: `understudy commit-failback {replica}`.',
  },
  'fence-failed': {
    kind: 'conflict',
    message: 'The source VM {vm} could not be fenced: {reason}.',
    remedy:
      'Nothing was switched. Choose another fence, or `--fence none` if you know that the source is gone.',
  },
  'source-serves': {
    kind: 'conflict',
    message:
      'The source VM {vm} of replica {replica} runs and is connected: another VM in its place would meet it on the network.',
    remedy:
      'Shut it down, or cut it off with `understudy fence {replica} --with shutdown` (before the failback; `understudy cancel-failback {replica}` gives one up), and try again.',
  },
  'guard-absent': {
    kind: 'conflict',
    message: 'Host {host} has no start guard.',
    remedy: 'Install one on a calm day: `understudy guard install {host}`.',
  },
  'guard-refused': {
    kind: 'conflict',
    message: 'Host {host} cannot have a start guard: {reason}.',
    remedy:
      'A source that comes back is told as `source-returned`; cut it off with `understudy fence`.',
  },
  'storage-taken': {
    kind: 'conflict',
    message: 'The storage folder {path} lies in, over or at that of host {host}.',
    remedy: 'Give each host a folder of its own: two must not own the same replicas.',
  },
  'start-held': {
    kind: 'conflict',
    message: 'The start guard of host {host} refuses VM {vm}: {reason}.',
    remedy: 'See `understudy guard show {host}`.',
  },
  'host-in-use': {
    kind: 'conflict',
    message: 'Host {host} is used by {what}.',
    remedy: 'Delete that first.',
  },
  'image-in-use': {
    kind: 'conflict',
    message: 'The disk image {path} is in use by another program: {reason}.',
    remedy: 'Close it there; then try again.',
  },
  'name-taken': {
    kind: 'conflict',
    message: 'There is already a {what} named {name}.',
    remedy: 'Choose another name.',
  },
  'not-allowed-in-phase': {
    kind: 'conflict',
    message: 'Replica {replica} is in phase {phase}, which does not allow {operation}.',
    remedy: 'Allowed now: {allowed}.',
  },
  'not-shut-down': {
    kind: 'conflict',
    message: 'VM {vm} was not shut down: {reason}.',
    remedy:
      'Nothing was switched, and what served serves on. Shut it down from inside its guest, or let it be powered off: ' +
      '`--on-missed-deadline power-off`.',
  },
  'operation-in-progress': {
    kind: 'conflict',
    message: '{what} is busy with operation {operation} ({kind}).',
    remedy: 'Wait for it, or cancel it with `understudy operation cancel {operation}`.',
  },
  'operation-not-cancellable': {
    kind: 'conflict',
    message: 'Operation {operation} is {state} and cannot be cancelled.',
    remedy: 'See `understudy operation show {operation}`.',
  },
  'operation-not-retryable': {
    kind: 'conflict',
    message: 'Operation {operation} is {state}; only a suspended one can be retried.',
    remedy: 'See `understudy operation show {operation}`.',
  },
  'operation-not-asking': {
    kind: 'conflict',
    message: 'Operation {operation} ({kind}) is {state} and asks nothing.',
    remedy: 'See `understudy operation show {operation}`.',
  },
  'preflight-blocked': {
    kind: 'conflict',
    message: 'The job {job} cannot work as things are: {reason}.',
    remedy: 'Fix what is listed as blocking, then create it again.',
  },
  'parent-not-newest': {
    kind: 'conflict',
    message: 'Restore point {point} is not the newest of replica {replica}; that is {newest}.',
    remedy: 'Another operation made a point meanwhile; nothing was changed.',
  },
  'replica-drifted': {
    kind: 'conflict',
    message: 'The replica {replica} was changed by someone else: {finding}.',
    remedy: 'Nothing was written. Run `understudy replica rescan {replica} --repair`.',
  },
  'replica-still-running': {
    kind: 'conflict',
    message: 'The replica VM {vm} is running although it should be off.',
    remedy: 'Shut it down on its host, then retry.',
  },
  'saved-state-present': {
    kind: 'conflict',
    message:
      'VM {vm} has a saved memory image, which a start would resume over disks that have changed.',
    remedy: 'Start and shut it down properly, or repeat the command with --discard-saved-state.',
  },
  'scratch-exhausted': {
    kind: 'conflict',
    message: 'The frozen view of VM {vm} was given up: {reason}.',
    remedy: 'The VM was not disturbed. Give scratch more room or run more often.',
  },
  'stale-journal': {
    kind: 'conflict',
    message: 'Operation {operation} expected step {expected} but its journal says {found}.',
    remedy: 'It was begun by another version of Understudy; finish it there, or cancel it.',
  },
  'version-conflict': {
    kind: 'conflict',
    message: 'The record {record} was changed meanwhile.',
    remedy: 'Try again.',
  },
  'vm-excluded': {
    kind: 'conflict',
    message: '{vm} is excluded from job {job}: {reason}.',
    remedy: 'Make a new job to protect it again.',
  },
  'vm-not-off': { kind: 'conflict', message: 'VM {vm} is not off.', remedy: 'Shut it down first.' },
  'vm-busy': {
    kind: 'conflict',
    message: "Someone else's job is using VM {vm}: {reason}.",
    remedy: 'Wait until it ends; the next run tries again.',
  },

  // transient
  'block-transfer-failed': {
    kind: 'transient',
    message: 'Reading or writing blocks of {endpoint} failed: {reason}.',
    remedy: '',
  },
  'connection-lost': {
    kind: 'transient',
    message: 'The connection to {endpoint} was lost: {reason}.',
    remedy: '',
  },
  'freeze-failed': {
    kind: 'transient',
    message: 'VM {vm} could not be frozen at one instant: {reason}.',
    remedy: '',
  },
  'freeze-lost': {
    kind: 'transient',
    message: 'The frozen instant of VM {vm} was lost: {reason}.',
    remedy: 'The VM was not disturbed; the next run starts over.',
  },
  'guest-not-answering': {
    kind: 'transient',
    message: 'The guest of VM {vm} does not answer: {reason}.',
    remedy: '',
  },
  'host-unreachable': {
    kind: 'transient',
    message: 'Host {host} does not answer: {reason}.',
    remedy: 'Check that its hypervisor runs and can be reached.',
  },
  'hypervisor-refused': {
    kind: 'transient',
    message: 'The hypervisor refused to {action}: {reason}.',
    remedy: '',
  },
  'image-command-failed': {
    kind: 'transient',
    message: 'Could not {action} the disk image {path}: {reason}.',
    remedy: '',
  },
  'shutting-down': {
    kind: 'transient',
    message: 'The server is shutting down.',
    remedy: 'What was accepted continues when it runs again.',
  },
  'target-full': {
    kind: 'conflict',
    message: 'The storage at {path} has too little room: {reason}.',
    remedy: 'Make room; the next run continues from the last restore point.',
  },
  'timed-out': { kind: 'transient', message: '{what} took longer than {limitMs} ms.', remedy: '' },
  'verification-failed': {
    kind: 'transient',
    message: '{what} does not read back as written: {reason}.',
    remedy: 'Check the storage.',
  },

  // cancelled
  cancelled: { kind: 'cancelled', message: 'The operation was cancelled.', remedy: '' },

  // bug
  'command-output-too-large': {
    kind: 'bug',
    message: 'The program {command} said more than {limitBytes} bytes.',
    remedy: '',
  },
  unexpected: {
    kind: 'bug',
    message: 'Something unexpected happened: {reason}.',
    remedy: 'Please report it with the operation history.',
  },
} as const satisfies Record<string, CatalogEntry>;

export type ErrorCode = keyof typeof ERROR_CATALOG;
