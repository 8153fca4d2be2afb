import assert from 'node:assert/strict';
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { markName, operationId, operationKey, vmId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { systemProcesses } from '../../system/processes.ts';
import { isThere } from '../is-there.ts';
import { createFreezeContext, type FreezeContext } from './freeze-context.ts';
import { endFreeze, endFreezeAfterError } from './freeze-end.ts';
import {
  type FreezePlaces,
  type FreezeRecord,
  freezePlaces,
  writeRecord,
} from './freeze-record.ts';
import type { Virsh } from './virsh.ts';

const { signal } = new AbortController();
const vm = vmId('11111111-2222-4333-8444-555555555555');
const BUSY = new UnderstudyError('vm-busy', { vm, reason: 'cannot acquire state change lock' });
const HUNG = silent('Guest agent is not responding: Guest agent not available for now');
const ABSENT = silent('Guest agent is not responding: QEMU guest agent is not connected');

let scratchFolder: string;
let places: FreezePlaces;
let record: FreezeRecord;
beforeEach(async () => {
  scratchFolder = await mkdtemp(join(tmpdir(), 'us-freeze-end-'));
  record = recordOf();
  places = freezePlaces(scratchFolder, record.key);
  await writeRecord(places, record);
  await mkdir(places.ownFolder);
});
afterEach(() => rm(scratchFolder, { recursive: true }));

test('a guest that was left frozen is thawed also when its first turn is refused as busy, or its agent hangs', async () => {
  for (const first of [BUSY, HUNG]) {
    const { context, asked } = contextOf([first, null]);
    await endFreeze(context, { places, vmId: vm, record }, { signal });
    assert.equal(thaws(asked), 2, first.message);
  }
});

test('a guest whose agent stays silent is told, its backup ended, and it is asked again the next time', async () => {
  const { context, asked } = contextOf([HUNG]);
  const end = () => endFreeze(context, { places, vmId: vm, record }, { signal });
  await assert.rejects(end(), { code: 'freeze-failed', message: /may still be frozen/ });
  assert.ok(asked.includes('backup-dumpxml'));
  assert.ok(await isThere(places.recordPath));
  await assert.rejects(endFreezeAfterError(context, record, new Error('the first')), {
    code: 'freeze-failed',
  });
  await assert.rejects(end(), { code: 'freeze-failed' });
});

test('a host that is away is told as such, at once', async () => {
  const away = new UnderstudyError('host-unreachable', { host: 'lab', reason: 'gone' });
  const { context, asked } = contextOf([away]);
  const ending = endFreeze(context, { places, vmId: vm, record }, { signal });
  await assert.rejects(ending, { code: 'host-unreachable' });
  assert.equal(thaws(asked), 1);
  assert.ok(await isThere(places.recordPath));
});

test('a guest without an agent was not frozen, unless the log says that it was', async () => {
  const { context } = contextOf([ABSENT]);
  await writeLog('Froze 1 filesystem(s)\n\nerror: @begin\n');
  const dead = { ...record, process: { pid: 1, startTime: 'ended' } };
  const end = () => endFreeze(context, { places, vmId: vm, record: dead }, { signal });
  await assert.rejects(end(), { code: 'freeze-failed' });
  await writeLog('error: Unable to freeze filesystems\nerror: QEMU guest agent is not connected\n');
  await end();
  assert.equal(await isThere(places.recordPath), false);
});

test('a sequence whose process was not yet written down is waited for', async () => {
  await writeLog('');
  const steps = [
    'Froze 1 filesystem(s)\n',
    'error: @begin\nerror: @thaw\n',
    'Thawed 1 filesystem(s)\n',
  ];
  const { context, asked } = contextOf([null], async () => {
    assert.equal(thaws(asked), 0);
    await appendFile(join(places.ownFolder, 'quiesce.log'), steps.shift() ?? '');
  });
  await endFreeze(context, { places, vmId: vm, record }, { signal });
  assert.deepEqual(steps, []);
  assert.equal(thaws(asked), 1);
});

test('after an error the process is ended that was written down since', async () => {
  const process = { pid: 1, startTime: 'ours' };
  await writeRecord(places, { ...record, process });
  const { context, ended } = contextOf([null]);
  await endFreezeAfterError(context, record, new Error('the first'));
  assert.deepEqual(ended, [process]);
});

/** Each thaw is answered by the next of these, the last one for ever; null: it is thawed. Its clock runs while it is slept. */
function contextOf(
  answers: readonly (UnderstudyError | null)[],
  onSleep: () => Promise<void> = async () => undefined,
) {
  const asked: string[] = [];
  const ended: unknown[] = [];
  let nowMs = 0;
  const run: Virsh['run'] = async ([action]) => {
    asked.push(String(action));
    if (action === 'domfsthaw') {
      const answer = answers[Math.min(thaws(asked), answers.length) - 1];
      if (answer) throw answer;
      return 'Thawed 1 filesystem(s)';
    }
    const refused = { action: String(action), reason: 'no domain backup job present' };
    throw new UnderstudyError('hypervisor-refused', refused);
  };
  const context: FreezeContext = createFreezeContext({
    virsh: { uri: 'qemu:///system', hostName: 'lab', run },
    processes: {
      ...systemProcesses(),
      isAlive: async ({ startTime }) => startTime === 'ours' && ended.length === 0,
      end: async (process) => void ended.push(process),
    },
    clock: {
      ...systemClock(),
      monotonicMs: () => nowMs,
      async sleep(ms) {
        nowMs += ms;
        await onSleep();
      },
    },
    hostName: 'lab',
    scratchFolder,
    describeVm: () => Promise.reject(new Error('the VM is not looked at')),
    collectSidecars: async () => [],
  });
  return { context, asked, ended };
}

function thaws(asked: readonly string[]): number {
  return asked.filter((action) => action === 'domfsthaw').length;
}

function writeLog(text: string): Promise<void> {
  return writeFile(join(places.ownFolder, 'quiesce.log'), text);
}

function silent(reason: string): UnderstudyError {
  return new UnderstudyError('guest-not-answering', { vm, reason });
}

function recordOf(): FreezeRecord {
  return {
    format: 1,
    key: operationKey(operationId('op-1'), 'freeze'),
    vmId: vm,
    mark: markName('us-1'),
    kind: 'running',
    isQuiesced: true,
    quotaBytes: 1,
    process: null,
    generation: [],
    point: null,
  };
}
