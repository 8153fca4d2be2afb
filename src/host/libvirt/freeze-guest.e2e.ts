/**
 * Freezing a real guest: its agent stops its file systems for a moment, and one that old blocks had paused goes on. It takes
 * a minute.
 *
 *   node --test src/host/libvirt/freeze-guest.e2e.ts
 */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { diskKey, vmId } from '../../domain/ids.ts';
import type { FreezeRequest } from '../../ports/point-source.ts';
import { ensureGuestImage } from '../../rig/guest-image.ts';
import { createTestVm, type TestVm } from '../../rig/test-vm.ts';
import { until, untilTrue } from '../../rig/until.ts';
import { freezePlaces, writeRecord } from './freeze-record.ts';
import { sequenceLogPath } from './freeze-sequence.ts';
import { createLibvirtPointSource } from './point-source.ts';
import {
  type FreezeRig,
  freezeRequest,
  missingForFreezing,
  openFreezeRig,
  rejects,
} from './testing/freeze-rig.ts';

const skip = missingForFreezing() ?? false;
const { signal } = new AbortController();
const LARGE = { quotaBytes: 1e12, reserveBytes: -1e12, deadlineMs: 1e9 };

describe('freezing a guest', { skip }, () => {
  let rig: FreezeRig;
  let serial = 0;
  before(async () => {
    rig = await openFreezeRig();
  });
  after(() => rig?.[Symbol.asyncDispose]());

  it('says why a guest without an agent was not quiesced, or refuses and leaves nothing', async () => {
    const vm = await rig.makeVm();
    await vm.start();
    try {
      const wish = freezeRequest(vm.id, ++serial, { quiesce: 'if-possible' });
      const point = await rig.pointSource.freeze(wish, { signal });
      assert.equal(point.consistency, 'crash');
      assert.match(point.consistencyNote ?? '', /agent/);
      await rig.pointSource.end(wish, { signal });
      const must = freezeRequest(vm.id, ++serial, { quiesce: 'required' });
      await rejects('guest-not-answering', rig.pointSource.freeze(must, { signal }));
      assert.deepEqual(await readdir(rig.context.scratchFolder), []);
      assert.deepEqual(await vm.marks(), [wish.mark]);
    } finally {
      await vm.remove();
    }
  });

  it('quiesces a guest for a moment', async () => {
    await withGuest(async (guest) => {
      const request = guestRequest(guest, { quiesce: 'required' });
      const point = await rig.pointSource.freeze(request, { signal });
      assert.deepEqual([point.consistency, point.consistencyNote], ['application', null]);
      assert.equal(await guest.agent('guest-fsfreeze-status'), 'thawed');
      await guestGoesOn(guest);
      await rig.pointSource.end(request, { signal });
    });
  });

  it('thaws for a controller that died while the guest was frozen', async () => {
    await withGuest(async (guest) => {
      const { request } = await cutOff(guest);
      await guest.agent('guest-fsfreeze-freeze');
      await rig.pointSource.end(request, { signal });
      assert.equal(await guest.agent('guest-fsfreeze-status'), 'thawed');
      await guestGoesOn(guest);
    });
  });

  it('thaws a guest whose agent hangs, as soon as it answers again', async () => {
    await withGuest(async (guest) => {
      const { request, places } = await cutOff(guest);
      await writeFile(sequenceLogPath(places.ownFolder), 'Froze 2 filesystem(s)\n');
      // A shell in the guest stops the agent once it has frozen, and lets it go on while we wait for it.
      const script = 'sleep 2; kill -STOP $PPID; sleep 12; kill -CONT $PPID';
      const exec = { path: '/bin/sh', arg: ['-c', script] };
      const command = JSON.stringify({ execute: 'guest-exec', arguments: exec });
      await rig.host.virsh(['qemu-agent-command', guest.uuid, command]);
      await guest.agent('guest-fsfreeze-freeze');
      const ping = ['qemu-agent-command', '--timeout', '1', guest.uuid, '{"execute":"guest-ping"}'];
      await untilTrue('the agent hangs', () =>
        rig.host.virsh(ping).then(
          () => false,
          () => true,
        ),
      );
      await rig.pointSource.end(request, { signal });
      assert.equal(await guest.agent('guest-fsfreeze-status'), 'thawed');
      await guestGoesOn(guest);
    });
  });

  it('lets a guest go on that a full scratch had paused, watched too late or not at all', async () => {
    await withGuest(async (guest) => {
      const source = createLibvirtPointSource({ ...rig.context, scratchFolder: rig.smallFolder });
      // Only what was allocated is kept when it is overwritten.
      await guest.http('/fill/48/1', { timeoutMs: 120_000 });
      for (const [index, isWatched] of [true, false].entries()) {
        const request = guestRequest(guest);
        const { takenAt } = await source.freeze(request, { signal });
        await forgetQuota(request);
        const filled = guest.http(`/fill/48/${index + 2}`, { timeoutMs: 120_000 });
        filled.catch(() => {});
        await untilTrue('QEMU pauses', async () => (await guest.state()) === 'paused');
        if (isWatched) {
          const command = { ...request, scratch: LARGE, frozenAt: takenAt };
          await rejects('scratch-exhausted', source.watch(command, { signal }));
          assert.equal(await guest.state(), 'running');
        }
        await source.end(request, { signal });
        assert.equal(await guest.state(), 'running');
        await filled;
        assert.equal((await guest.ledger()).errors, 0);
      }
    });
  });

  /** A freeze as a controller leaves it that dies before it has written down what was frozen. */
  async function cutOff(guest: TestVm) {
    const request = guestRequest(guest, { quiesce: 'required' });
    await rig.pointSource.freeze(request, { signal });
    const places = freezePlaces(rig.context.scratchFolder, request.key);
    const record = JSON.parse(await readFile(places.recordPath, 'utf8'));
    await writeRecord(places, { ...record, point: null });
    return { request, places };
  }

  function guestRequest(guest: TestVm, changes: Partial<FreezeRequest> = {}): FreezeRequest {
    serial += 1;
    const disks = [diskKey('vda'), diskKey('vdb')];
    return freezeRequest(vmId(guest.uuid), serial, { disks, ...changes });
  }

  /** So that only the hypervisor tells that it is too late. */
  async function forgetQuota({ key }: FreezeRequest): Promise<void> {
    const places = freezePlaces(rig.smallFolder, key);
    const record = JSON.parse(await readFile(places.recordPath, 'utf8'));
    await writeRecord(places, { ...record, quotaBytes: LARGE.quotaBytes });
  }

  async function withGuest(use: (guest: TestVm) => Promise<void>): Promise<void> {
    const image = await ensureGuestImage();
    serial += 1;
    const folder = join(rig.folder, `guest-${serial}`);
    const guest = await createTestVm({ host: rig.host, name: `guest ${serial}`, folder, image });
    try {
      await guest.start();
      await guest.waitForHttp({ deadlineMs: 120_000 });
      await agentAnswers(guest);
      await use(guest);
    } finally {
      await guest.destroy();
      await guest.undefine();
    }
  }

  /** It starts after the ledger. */
  async function agentAnswers(guest: TestVm): Promise<void> {
    await until('the agent answers', () => guest.agent('guest-ping'));
  }
});

async function guestGoesOn(guest: TestVm): Promise<void> {
  const { seq } = await guest.ledger();
  await untilTrue('the guest goes on', async () => (await guest.ledger()).seq > seq);
}
