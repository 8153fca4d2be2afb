import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { markName, operationId, operationKey, vmId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createFreezeContext } from './freeze-context.ts';
import { endFreeze } from './freeze-end.ts';
import { type FreezeRecord, freezePlaces } from './freeze-record.ts';
import type { Virsh } from './virsh.ts';

const { signal } = new AbortController();

test('a guest that was left frozen is thawed also when its first turn is refused as busy', async (t) => {
  const scratchFolder = await mkdtemp(join(tmpdir(), 'us-freeze-end-'));
  t.after(() => rm(scratchFolder, { recursive: true }));
  const vm = vmId('11111111-2222-4333-8444-555555555555');
  const reason = 'cannot acquire state change lock';
  let thaws = 0;
  const run: Virsh['run'] = async ([action]) => {
    if (action === 'domfsthaw') {
      thaws += 1;
      if (thaws === 1) throw new UnderstudyError('vm-busy', { vm, reason });
      return 'Thawed 1 filesystem(s)';
    }
    const refused = { action: String(action), reason: 'no domain backup job present' };
    throw new UnderstudyError('hypervisor-refused', refused);
  };
  const context = createFreezeContext({
    virsh: { uri: 'qemu:///system', hostName: 'lab', run },
    processes: systemProcesses(),
    clock: { ...systemClock(), sleep: async () => undefined },
    hostName: 'lab',
    scratchFolder,
    describeVm: () => Promise.reject(new Error('the VM is not looked at')),
    collectSidecars: async () => [],
  });
  const record: FreezeRecord = {
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
  const places = freezePlaces(scratchFolder, record.key);
  await endFreeze(context, { places, vmId: vm, record }, { signal });
  assert.equal(thaws, 2);
});
