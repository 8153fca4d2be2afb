/** Errors that the state of things is to blame for: what was asked for may be right at another time. */
import type { CatalogEntry } from './error-entry.ts';

export const CONFLICTS = {
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
  'data-folder-full': {
    kind: 'conflict',
    message: 'There is no room to write to {path}.',
    remedy:
      'Make room there, and start the server again if it has ended. What was recorded is kept, and what was under way goes on.',
  },
  'already-protected': {
    kind: 'conflict',
    message: 'VM {vm} already has a replica on that host, made by job {job}.',
    remedy:
      'Change that job with `understudy job change {job}`; or delete it: its replica is kept, and taken over by the new one.',
  },
  'disk-in-use': {
    kind: 'conflict',
    message: 'Disk {disk} of VM {vm} is in use: {reason}.',
    remedy: 'End what has it open (a VM that runs on it is shut down) and try again.',
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
  'sibling-serves': {
    kind: 'conflict',
    message: '{who}, runs and is connected: {vm} would meet it on the network.',
    remedy:
      'Nothing was switched. Bring {replica} to its end first (see `understudy replica show {replica}`), or disconnect {sibling}, and try again.',
  },
  'sibling-moving': {
    kind: 'conflict',
    message:
      'The other replica {replica} is moving the VM right now, with operation {operation} ({kind}).',
    remedy:
      'Wait until that has ended (`understudy operation follow {operation}`) and try again, or lead {replica} back first (see `understudy replica show {replica}`).',
  },
  'source-held': {
    kind: 'conflict',
    message:
      'The failback of replica {replica} is copying to VM {vm}: until it switches over or is given up, there is nothing to replicate.',
    remedy: 'The schedule goes on by itself then.',
  },
  'source-serves': {
    kind: 'conflict',
    message:
      'The source VM {vm} of replica {replica} runs and is connected: another VM in its place would meet it on the network.',
    remedy:
      'Shut it down or disconnect it at its host and try again. Before a failback `understudy fence {replica} --with shutdown` does so, too (`understudy cancel-failback {replica}` gives one up).',
  },
  'started-beside-source': {
    kind: 'conflict',
    message:
      'The source VM {vm} runs and is connected by now: replica {replica} would meet it on the network.',
    remedy:
      'Nothing was started. Shut {vm} down or disconnect it at its host, then retry the operation; or go back to {vm}: {back}.',
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
    remedy: 'Delete that first, or bring to its end the failback that goes there.',
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
      'Nothing was switched. Shut it down from inside its guest, or let it be powered off: `--on-missed-deadline power-off`.',
  },
  'not-fit-to-shut-down': {
    kind: 'conflict',
    message: 'VM {vm} cannot be shut down without losing what its guest holds in memory: {reason}.',
    remedy:
      'Nothing was switched. Let it run (resume or start it at its hypervisor), then try again.',
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
    remedy: 'Fix what is listed as blocking, then try again.',
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
    remedy: 'Wait until it ends, then try again; a scheduled run does so by itself.',
  },
} as const satisfies Record<string, CatalogEntry>;
