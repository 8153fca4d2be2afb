import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { vmId } from '../../domain/ids.ts';
import {
  diskWithoutMark,
  freezeFailure,
  lostMarkIn,
  saysMarkExists,
  saysMarkMissing,
  saysNoAccess,
  saysNotRunning,
} from './freeze-errors.ts';

const VM = vmId('00000000-0000-4000-8000-000000000001');
const refused = (reason: string) =>
  new UnderstudyError('hypervisor-refused', { action: 'backup-begin', reason });

test('the disk that lost its mark is named, with a reason for people', () => {
  const broken = lostMarkIn(
    refused("checkpoint inconsistent: missing or broken bitmap 'us-1' for disk 'vda'"),
  );
  assert.equal(broken?.disk, 'vda');
  assert.match(broken?.because ?? '', /us-1 is missing or broken/);
  const unknown = lostMarkIn(
    refused(
      "Domain checkpoint not found: Checkpoint 'us-1' for incremental backup of disk 'vdb' not found",
    ),
  );
  assert.equal(unknown?.disk, 'vdb');
  assert.match(unknown?.because ?? '', /no longer knows its change mark us-1/);
});

test('nothing else is taken for a lost mark', () => {
  assert.equal(lostMarkIn(refused('Permission denied')), null);
  assert.equal(lostMarkIn(new Error("missing or broken bitmap 'a' for disk 'b'")), null);
  const busy = new UnderstudyError('vm-busy', {
    vm: VM,
    reason: "missing or broken bitmap 'a' for disk 'b'",
  });
  assert.equal(lostMarkIn(busy), null);
});

test('what libvirt 9 says in each state', () => {
  const gone = "internal error: bitmap 'us-1' not found in backing chain of 'vda'";
  assert.equal(diskWithoutMark(refused(gone)), 'vda');
  assert.ok(saysMarkExists(refused('operation failed: domain moment us-3 already exists')));
  const absent = "Domain checkpoint not found: no domain checkpoint with matching name 'us-1'";
  assert.ok(saysMarkMissing(refused(absent)));
  const inactive = 'Operation not supported: cannot perform disk backup for inactive domain';
  assert.ok(saysNotRunning(refused(inactive)));
  assert.ok(saysNotRunning(refused('Requested operation is not valid: domain is not running')));
  const socket = "unable to execute QEMU command 'nbd-server-start': Failed to bind socket to /x";
  assert.ok(saysNoAccess(refused(socket)));
  assert.ok(!saysNoAccess(refused('No space left on device')));
});

test('a refusal becomes a failed freeze, somebody else at work becomes busy, the rest stays', () => {
  const failed = freezeFailure(VM, refused('No such file'));
  assert.ok(failed instanceof UnderstudyError && failed.code === 'freeze-failed');
  const busy = freezeFailure(VM, refused("disk 'vda' already in active block job"));
  assert.ok(busy instanceof UnderstudyError && busy.code === 'vm-busy');
  const other = new UnderstudyError('host-unreachable', { host: 'h', reason: 'r' });
  assert.equal(freezeFailure(VM, other), other);
});
