import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { vmId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createFreezeContext, type FreezeContext } from './freeze-context.ts';
import { beginQuiesced } from './freeze-quiesce.ts';
import type { Virsh } from './virsh.ts';

const vm = vmId('11111111-2222-4333-8444-555555555555');
const FROZEN = 'Froze 1 filesystem(s)\n\nerror: @begin\n\nBackup started\n';
const THAWED = '\nerror: @thaw\n\nThawed 1 filesystem(s)\n';
const UNTHAWED = `
error: @thaw

error: Unable to thaw filesystems
error: Guest agent is not responding: Guest agent not available for now
`;

let ownFolder: string;
beforeEach(async () => {
  ownFolder = await mkdtemp(join(tmpdir(), 'us-quiesce-'));
});
afterEach(() => rm(ownFolder, { recursive: true }));

test('a guest that froze and thawed needs nothing more', async () => {
  const { context, thaws } = contextOf(FROZEN + THAWED);
  assert.deepEqual(await begin(context), { hasBegun: true, note: null });
  assert.equal(thaws(), 0);
});

test('a guest is watched and thawed also when its process cannot be written down', async () => {
  const { context, thaws } = contextOf(FROZEN + UNTHAWED);
  const full = new Error('no space left');
  await assert.rejects(
    begin(context, () => Promise.reject(full)),
    full,
  );
  assert.equal(thaws(), 1);
});

test('a guest is thawed when nobody knows whether it froze', async () => {
  const lost = 'error: Unable to freeze filesystems\nerror: End of file while reading data\n';
  for (const log of ['', lost, `${lost}\nerror: @begin\n\nBackup started\n${UNTHAWED}`]) {
    const { context, thaws } = contextOf(log);
    await begin(context);
    assert.equal(thaws(), 1, log);
  }
});

test('an agent that was silent before freezing gets a while to thaw, and does not hold up the rest', async () => {
  const silent = 'Guest agent is not responding: Guest agent not available for now';
  const log = `error: Unable to freeze filesystems\nerror: ${silent}\n\nerror: @begin\n\nBackup started\n${UNTHAWED}`;
  const hung = contextOf(log, new UnderstudyError('guest-not-answering', { vm, reason: silent }));
  assert.deepEqual(await begin(hung.context), { hasBegun: true, note: silent });
  assert.ok(hung.thaws() > 2);
  const slow = contextOf(log);
  assert.deepEqual(await begin(slow.context), { hasBegun: true, note: silent });
  assert.equal(slow.thaws(), 1);
});

function begin(context: FreezeContext, onProcess: () => Promise<void> = async () => {}) {
  const backup = '<domainbackup/>';
  return beginQuiesced(context, { vmId: vm, backup, mark: null, ownFolder, onProcess });
}

/** virsh writes this log and ends. Thawing from here is answered by this error, or works. */
function contextOf(log: string, answer: UnderstudyError | null = null) {
  let thawed = 0;
  let nowMs = 0;
  const run: Virsh['run'] = async ([action]) => {
    assert.equal(action, 'domfsthaw');
    thawed += 1;
    if (answer !== null) throw answer;
    return 'Thawed 1 filesystem(s)';
  };
  const context = createFreezeContext({
    virsh: { uri: 'qemu:///system', hostName: 'lab', run },
    processes: {
      ...systemProcesses(),
      async startDaemon({ logPath }) {
        await writeFile(logPath, log);
        return { pid: 1, startTime: 'ended' };
      },
      isAlive: async () => false,
    },
    clock: {
      ...systemClock(),
      monotonicMs: () => nowMs,
      async sleep(ms) {
        nowMs += ms;
      },
    },
    hostName: 'lab',
    scratchFolder: ownFolder,
    describeVm: () => Promise.reject(new Error('the VM is not looked at')),
    collectSidecars: async () => [],
  });
  return { context, thaws: () => thawed };
}
