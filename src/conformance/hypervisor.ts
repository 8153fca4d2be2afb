/**
 * What every hypervisor driver must do, cheaply checked: begun or continued commands, refusals, and above all that no
 * answer is ever taken for "off". The harness gives one small VM; replicas are defined beside it on the same host.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { UnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import {
  diskKey,
  operationId,
  operationKey,
  type ReplicaId,
  replicaId,
  type VmId,
  vmId,
} from '../domain/ids.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { DefineReplicaRequest, Hypervisor } from '../ports/hypervisor.ts';

export interface HypervisorHarness extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  /** A VM that is off, with at least one disk that can be protected and one NIC, and nothing that needs seconds to start. */
  readonly sourceVm: VmId;
  /** A startable file for each disk of the source, fresh at every call. */
  makeDisks(source: VmDescription): Promise<DefineReplicaRequest['disks']>;
}

const key = operationKey(operationId('conformance'), 'step');
const ABSENT = vmId('00000000-0000-4000-8000-00000000dead');

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function hypervisorSuite(
  name: string,
  start: () => Promise<HypervisorHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  describe(`${name} as a hypervisor`, { skip }, () => {
    const signal = new AbortController().signal;
    let harness: HypervisorHarness;
    let source: VmDescription;
    let serial = 0;
    before(async () => {
      harness = await start();
      source = await harness.hypervisor.vm(harness.sourceVm, { signal });
    });
    after(() => harness?.[Symbol.asyncDispose]());

    async function replicaRequest(
      changes: Partial<DefineReplicaRequest> = {},
    ): Promise<DefineReplicaRequest> {
      serial += 1;
      return {
        key,
        replicaId: replicaId(`replica-${serial}`),
        epoch: 2,
        name: `replica ${serial} 'of" <it> & --help`,
        source,
        vmId: null,
        disks: await harness.makeDisks(source),
        networkMap: {},
        connectNics: false,
        sidecars: [],
        ...changes,
      };
    }

    /** Defines a replica for the test and takes it away after it. */
    async function withReplica(
      use: (id: VmId, request: DefineReplicaRequest) => Promise<void>,
    ): Promise<void> {
      const { hypervisor } = harness;
      const request = await replicaRequest();
      const id = await hypervisor.defineReplica(request, { signal });
      try {
        await use(id, request);
      } finally {
        await hypervisor.powerOff({ key, vmId: id }, { signal });
        await hypervisor.undefine({ key, vmId: id }, { signal });
      }
    }

    it('describes its host', async () => {
      const host = await harness.hypervisor.describe({ signal });
      assert.ok(host.cpuCount > 0 && host.memoryBytes > 0);
      assert.notEqual(host.hypervisorVersion, '');
      assert.ok(['hardware', 'software', 'unproved'].includes(host.acceleration));
    });

    it('lists and describes the VM alike', async () => {
      const listed = await harness.hypervisor.vms({ signal });
      const { id, name, power } = source;
      assert.deepEqual(
        listed.find((vm) => vm.id === id),
        { id, name, power },
      );
      assert.equal(power, 'off');
      assert.ok(
        source.disks.some((disk) => disk.unsupportedBecause === null && disk.sizeBytes > 0),
      );
      assert.ok(source.nics.length > 0);
      assert.equal(source.hasSavedState, false);
    });

    it('says vm-missing only of a VM that is missing', async () => {
      const { hypervisor } = harness;
      await rejects('vm-missing', hypervisor.power(ABSENT, { signal }));
      await rejects('vm-missing', hypervisor.vm(ABSENT, { signal }));
      await rejects('vm-missing', hypervisor.start({ key, vmId: ABSENT }, { signal }));
      await rejects('vm-missing', hypervisor.powerOff({ key, vmId: ABSENT }, { signal }));
      await hypervisor.undefine({ key, vmId: ABSENT }, { signal });
    });

    it('starts and powers off, however often it is told', async () => {
      await withReplica(async (id) => {
        const { hypervisor } = harness;
        const command = { key, vmId: id };
        assert.equal(await hypervisor.power(id, { signal }), 'off');
        await hypervisor.start(command, { signal });
        await hypervisor.start(command, { signal });
        assert.equal(await hypervisor.power(id, { signal }), 'running');
        await hypervisor.powerOff(command, { signal });
        await hypervisor.powerOff(command, { signal });
        assert.equal(await hypervisor.power(id, { signal }), 'off');
        assert.equal(await hypervisor.shutdown({ ...command, deadlineMs: 1000 }, { signal }), true);
      });
    });

    it('defines a replica once: same identity again, own UUID beside the source, MACs kept, links down', async () => {
      await withReplica(async (id, request) => {
        const { hypervisor } = harness;
        assert.notEqual(id, source.id);
        assert.equal(await hypervisor.defineReplica(request, { signal }), id);
        const again = { ...request, vmId: id, epoch: 3 };
        assert.equal(await hypervisor.defineReplica(again, { signal }), id);
        const vm = await hypervisor.vm(id, { signal });
        assert.equal(vm.name, request.name);
        assert.equal(vm.power, 'off');
        assert.deepEqual(macs(vm), macs(source));
        assert.deepEqual(new Set(vm.nics.map((nic) => nic.isConnected)), new Set([false]));
        assert.deepEqual(
          vm.disks.map(({ key: disk, path }) => ({ disk, path })),
          request.disks.map(({ key: disk, path }) => ({ disk, path })),
        );
        const all = await hypervisor.vms({ signal });
        assert.equal(all.filter((other) => other.name === request.name).length, 1);
        await rejects('epoch-refused', hypervisor.defineReplica(request, { signal }));
      });
    });

    it('leaves VMs alone that are not this replica', async () => {
      await withReplica(async (id, request) => {
        const { hypervisor } = harness;
        const other: ReplicaId = replicaId('replica-other');
        await rejects(
          'name-taken',
          hypervisor.defineReplica({ ...request, replicaId: other }, { signal }),
        );
        await rejects(
          'name-taken',
          hypervisor.defineReplica({ ...request, vmId: source.id }, { signal }),
        );
        await rejects('name-taken', hypervisor.undefine({ key, vmId: source.id }, { signal }));
        assert.equal((await hypervisor.vm(id, { signal })).name, request.name);
        assert.deepEqual(await hypervisor.vm(source.id, { signal }), source);
      });
    });

    it('does not touch the definition of a running replica', async () => {
      await withReplica(async (id, request) => {
        const { hypervisor } = harness;
        await hypervisor.start({ key, vmId: id }, { signal });
        await rejects('vm-not-off', hypervisor.defineReplica(request, { signal }));
        await rejects('vm-not-off', hypervisor.undefine({ key, vmId: id }, { signal }));
        assert.equal(await hypervisor.power(id, { signal }), 'running');
      });
    });

    it('cannot start a replica at rest, whose disks do not exist', async () => {
      await withReplica(async (id, request) => {
        const { hypervisor } = harness;
        const disks = request.disks.map((disk) => ({ ...disk, path: `${disk.path}.at-rest/x` }));
        await hypervisor.defineReplica({ ...request, disks }, { signal });
        await assert.rejects(hypervisor.start({ key, vmId: id }, { signal }));
        assert.equal(await hypervisor.power(id, { signal }), 'off');
        assert.equal((await hypervisor.vm(id, { signal })).id, id);
      });
    });

    it('places disks elsewhere and back, and nothing else: there it cannot be started', async () => {
      await withReplica(async (id, request) => {
        const { hypervisor } = harness;
        const command = { key, vmId: id };
        const before = await hypervisor.vm(id, { signal });
        const away = request.disks.map((disk) => ({ ...disk, path: `${disk.path}.none/"a" & b` }));
        const absent = { key: diskKey('vdz'), path: '/nowhere' };
        await hypervisor.placeDisks({ ...command, disks: [...away, absent] }, { signal });
        await hypervisor.placeDisks({ ...command, disks: away }, { signal });
        const placed = await hypervisor.vm(id, { signal });
        assert.deepEqual(
          placed.disks.map(({ path }) => path),
          away.map(({ path }) => path),
        );
        assert.deepEqual(
          { ...placed, disks: [], configuration: null },
          { ...before, disks: [], configuration: null },
        );
        await assert.rejects(hypervisor.start(command, { signal }));
        await hypervisor.placeDisks({ ...command, disks: request.disks }, { signal });
        assert.deepEqual((await hypervisor.vm(id, { signal })).disks, before.disks);
        await hypervisor.start(command, { signal });
        await hypervisor.placeDisks({ ...command, disks: request.disks }, { signal });
        await rejects('vm-not-off', hypervisor.placeDisks({ ...command, disks: away }, { signal }));
        const missing = { key, vmId: ABSENT, disks: away };
        await rejects('vm-missing', hypervisor.placeDisks(missing, { signal }));
      });
    });

    it('sets links while off and while running, and keeps them', async () => {
      await withReplica(async (id) => {
        const { hypervisor } = harness;
        const links = async () =>
          (await hypervisor.vm(id, { signal })).nics.map((nic) => nic.isConnected);
        const command = { key, vmId: id, macs: null };
        await hypervisor.setNicsConnected({ ...command, connected: true }, { signal });
        assert.ok((await links()).every((isUp) => isUp));
        await hypervisor.start({ key, vmId: id }, { signal });
        await hypervisor.setNicsConnected({ ...command, connected: false }, { signal });
        await hypervisor.setNicsConnected({ ...command, connected: false }, { signal });
        assert.ok((await links()).every((isUp) => !isUp));
        await hypervisor.powerOff({ key, vmId: id }, { signal });
        assert.ok((await links()).every((isUp) => !isUp));
      });
    });

    it('sets only the links that are named', async () => {
      await withReplica(async (id) => {
        const { hypervisor } = harness;
        const [first, ...others] = (await hypervisor.vm(id, { signal })).nics.map(({ mac }) => mac);
        if (first === undefined || first === null) throw new Error('the VM has no NIC with a MAC');
        const command = { key, vmId: id, connected: true };
        await hypervisor.setNicsConnected({ ...command, macs: [] }, { signal });
        await hypervisor.setNicsConnected({ ...command, macs: ['52:54:00:ff:ff:ff'] }, { signal });
        assert.ok((await hypervisor.vm(id, { signal })).nics.every((nic) => !nic.isConnected));
        await hypervisor.setNicsConnected({ ...command, macs: [first] }, { signal });
        const { nics } = await hypervisor.vm(id, { signal });
        assert.deepEqual(
          nics.map((nic) => nic.isConnected),
          [true, ...others.map(() => false)],
        );
      });
    });

    it('reports a guest that is off as silent', async () => {
      const report = await harness.hypervisor.guest(source.id, { signal, deadlineMs: 2000 });
      assert.equal(report.agentAnswers, false);
      assert.deepEqual(report.addresses, []);
    });

    it('says of an address where nobody answers that nobody does, in time', async () => {
      const { hypervisor } = harness;
      const nobody = { address: '127.0.0.1', port: 1 };
      for (const probe of [
        { type: 'tcp', ...nobody },
        { type: 'http', path: '/', status: null, ...nobody },
      ] as const) {
        const { passed, why } = await hypervisor.askAddress(probe, { signal, deadlineMs: 1000 });
        assert.equal(passed, false);
        assert.match(why, /127\.0\.0\.1:1/);
      }
      const asked = hypervisor.askAddress(
        { type: 'tcp', ...nobody },
        { signal: AbortSignal.abort(), deadlineMs: 1000 },
      );
      await rejects('cancelled', asked);
    });

    it('preflights its own VM as a target without refusing it', async () => {
      const { hypervisor } = harness;
      const target = await hypervisor.preflightTarget({ source, networkMap: {} }, { signal });
      assert.deepEqual(
        target.filter(({ severity }) => severity === 'blocks'),
        [],
      );
      const storage = await hypervisor.preflightStorage({ signal });
      for (const finding of storage)
        assert.ok(target.some((each) => each.message === finding.message));
      const findings = await hypervisor.preflightSource(source.id, { signal });
      assert.deepEqual(
        findings.filter(({ severity }) => severity === 'blocks'),
        [],
      );
    });

    it('tells about how much the disks hold', async () => {
      const { hypervisor } = harness;
      const allocated = await hypervisor.allocatedBytes(source.id, { signal });
      const sizeBytes = source.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
      assert.ok(allocated !== null && allocated >= 0 && allocated <= sizeBytes, `${allocated}`);
      await rejects('vm-missing', hypervisor.allocatedBytes(ABSENT, { signal }));
    });

    it('rejects an aborted call with cancelled', async () => {
      const aborted = AbortSignal.abort();
      await rejects('cancelled', harness.hypervisor.power(source.id, { signal: aborted }));
      await rejects('cancelled', harness.hypervisor.vms({ signal: aborted }));
    });
  });
}

function macs(vm: VmDescription): (string | null)[] {
  return vm.nics.map((nic) => nic.mac);
}

async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof UnderstudyError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
