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
import { CONFLICTS } from './error-conflicts.ts';
import type { CatalogEntry } from './error-entry.ts';

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
  ...CONFLICTS,

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
