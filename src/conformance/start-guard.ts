/** What every start guard must do: hold single VMs, whoever starts them, and nobody else. The harness gives two VMs that are off. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { UnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import type { HeldVm } from '../domain/failover/start-guard.ts';
import { operationId, operationKey, replicaId, type VmId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Hypervisor } from '../ports/hypervisor.ts';
import type { StartGuard } from '../ports/start-guard.ts';

export interface StartGuardHarness extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  readonly startGuard: StartGuard;
  readonly vms: readonly [VmId, VmId];
  /** The host looks for its guard, as an operator makes it. */
  reload(): Promise<void>;
}

const key = operationKey(operationId('conformance'), 'step');
const REASON = `It serves elsewhere: "ü" & <uuid> $(rm -rf /) 'x'`;

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function startGuardSuite(
  name: string,
  start: () => Promise<StartGuardHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  describe(`${name} as a start guard`, { skip }, () => {
    const signal = new AbortController().signal;
    let harness: StartGuardHarness;
    let held: HeldVm;
    let other: VmId;
    before(async () => {
      harness = await start();
      const [vmId, free] = harness.vms;
      const since = instant(1_700_000_000_000);
      held = { vmId, replicaId: replicaId('rp-1'), epoch: 3, since, reason: REASON };
      other = free;
    });
    after(() => harness?.[Symbol.asyncDispose]());

    async function starts(vmId: VmId): Promise<boolean> {
      const { hypervisor } = harness;
      try {
        await hypervisor.start({ key, vmId }, { signal });
      } catch (error) {
        assert.ok(error instanceof UnderstudyError && error.code === 'start-held', String(error));
        assert.ok(error.message.includes('It serves elsewhere'), error.message);
        assert.equal(await hypervisor.power(vmId, { signal }), 'off');
        return false;
      }
      await hypervisor.powerOff({ key, vmId }, { signal });
      return true;
    }

    it('holds nothing before it is installed', async () => {
      const { startGuard } = harness;
      assert.equal((await startGuard.prove({ signal })).state, 'absent');
      assert.deepEqual(await startGuard.held({ signal }), []);
      await rejects(startGuard.hold(held, { signal }), 'guard-absent');
      await startGuard.release(held, { signal });
      await startGuard.remove({ signal });
    });

    it('is dormant until the host has looked for it, and says so', async () => {
      const { startGuard } = harness;
      await startGuard.install({ signal });
      assert.equal((await startGuard.prove({ signal })).state, 'dormant');
      await harness.reload();
      assert.equal((await startGuard.prove({ signal })).state, 'active');
      await startGuard.install({ signal });
      assert.equal((await startGuard.prove({ signal })).state, 'active');
      assert.deepEqual(await startGuard.held({ signal }), []);
    });

    it('refuses the start of a held VM with the reason, and of no other', async () => {
      await harness.startGuard.hold(held, { signal });
      await harness.startGuard.hold(held, { signal });
      assert.deepEqual(await harness.startGuard.held({ signal }), [held]);
      assert.equal(await starts(held.vmId), false);
      assert.equal(await starts(other), true);
    });

    it('obeys nobody of an older epoch', async () => {
      const { startGuard } = harness;
      await rejects(startGuard.hold({ ...held, epoch: 2 }, { signal }), 'epoch-refused');
      await rejects(startGuard.release({ ...held, epoch: 2 }, { signal }), 'epoch-refused');
      assert.deepEqual(await startGuard.held({ signal }), [held]);
      await startGuard.hold({ ...held, epoch: 4 }, { signal });
      assert.equal((await startGuard.held({ signal }))[0]?.epoch, 4);
    });

    it('lets a VM go when the last replica of it does', async () => {
      const { startGuard } = harness;
      const second = { ...held, replicaId: replicaId('rp-2') };
      await startGuard.hold(second, { signal });
      await startGuard.release({ ...held, epoch: 5 }, { signal });
      assert.deepEqual(await startGuard.held({ signal }), [second]);
      assert.equal(await starts(held.vmId), false);
      await startGuard.release(second, { signal });
      await startGuard.release(second, { signal });
      assert.equal(await starts(held.vmId), true);
    });

    it('lets everything go when it is removed', async () => {
      const { startGuard } = harness;
      await startGuard.hold(held, { signal });
      await startGuard.remove({ signal });
      await startGuard.remove({ signal });
      assert.equal((await startGuard.prove({ signal })).state, 'absent');
      assert.deepEqual(await startGuard.held({ signal }), []);
      assert.equal(await starts(held.vmId), true);
    });
  });
}

async function rejects(call: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(call, (error) => error instanceof UnderstudyError && error.code === code);
}
