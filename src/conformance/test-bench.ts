/**
 * What every test bench must do: tests that are found again by their ids, cut off from everything and each other, asked,
 * looked at and taken away without a trace. The harness gives one small VM that nobody else uses.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { UnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import { branchId, operationId, operationKey, replicaId, type VmId } from '../domain/ids.ts';
import type { ProbeKind } from '../domain/test-failover/probe.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { Hypervisor } from '../ports/hypervisor.ts';
import type { SetUpTest, TestBench } from '../ports/test-bench.ts';

export interface TestBenchHarness extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  readonly testBench: TestBench;
  /** A VM that is off, with at least one disk and one NIC that is connected. */
  readonly sourceVm: VmId;
  /** Whether isolated networks can be made here. */
  readonly isolation: 'network' | 'unplugged';
  /** A startable file for each disk of the source, fresh at every call. */
  makeDisks(source: VmDescription): Promise<SetUpTest['disks']>;
}

const key = operationKey(operationId('conformance'), 'step');
const LIMIT_MS = 3000;

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function testBenchSuite(
  name: string,
  start: () => Promise<TestBenchHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  describe(`${name} as a test bench`, { skip }, () => {
    const signal = new AbortController().signal;
    let harness: TestBenchHarness;
    let source: VmDescription;
    let serial = 0;
    before(async () => {
      harness = await start();
      source = await harness.hypervisor.vm(harness.sourceVm, { signal });
    });
    after(() => harness?.[Symbol.asyncDispose]());

    async function request(): Promise<SetUpTest> {
      serial += 1;
      return {
        key,
        testId: `tst-conformance-${serial}`,
        replicaId: replicaId('replica-1'),
        branchId: branchId('branch-1'),
        name: `test ${serial} 'of" <it> & --help`,
        source,
        disks: await harness.makeDisks(source),
        sidecars: [],
      };
    }

    /** Sets a test up and takes it away afterwards. */
    async function withTest(use: (wanted: SetUpTest, vmId: VmId) => Promise<void>): Promise<void> {
      const { testBench } = harness;
      const wanted = await request();
      const { vmId, isolation } = await testBench.setUp(wanted, { signal });
      try {
        assert.equal(isolation.kind, harness.isolation, isolation.because);
        assert.notEqual(isolation.because, '');
        await use(wanted, vmId);
      } finally {
        await testBench.tearDown(wanted, { signal });
      }
    }

    const listed = async () => (await harness.hypervisor.vms({ signal })).map(({ id }) => id);

    it('sets up once: a UUID of its own, MACs kept, off, found again by its id', async () => {
      await withTest(async (wanted, vmId) => {
        const { hypervisor, testBench } = harness;
        assert.notEqual(vmId, source.id);
        assert.equal((await testBench.setUp(wanted, { signal })).vmId, vmId);
        const vm = await hypervisor.vm(vmId, { signal });
        assert.equal(vm.name, wanted.name);
        assert.equal(vm.power, 'off');
        assert.deepEqual(
          vm.nics.map(({ mac }) => mac),
          source.nics.map(({ mac }) => mac),
        );
        assert.deepEqual(
          vm.disks.map(({ path }) => path),
          wanted.disks.map(({ path }) => path),
        );
        await hypervisor.start({ key, vmId }, { signal });
        const again = await testBench.setUp(wanted, { signal });
        assert.equal(again.vmId, vmId);
        assert.equal(again.isolation.kind, harness.isolation);
        assert.equal(await hypervisor.power(vmId, { signal }), 'running');
      });
    });

    it('puts no NIC where the source has one, and no two tests on one network', async () => {
      await withTest(async (_one, oneId) => {
        await withTest(async (_two, twoId) => {
          const { hypervisor, isolation } = harness;
          const [one, two] = [
            await hypervisor.vm(oneId, { signal }),
            await hypervisor.vm(twoId, { signal }),
          ];
          if (isolation === 'unplugged') {
            assert.ok([...one.nics, ...two.nics].every(({ isConnected }) => !isConnected));
            return;
          }
          const networks = (vm: VmDescription) => vm.nics.map(({ network }) => network);
          const others = [...networks(source), ...networks(two)];
          assert.ok(networks(one).every((network) => !others.includes(network)));
        });
      });
    });

    it('takes a running test away without a trace, however often it is told', async () => {
      const { hypervisor, testBench } = harness;
      const before = await listed();
      await withTest(async (wanted, vmId) => {
        await hypervisor.start({ key, vmId }, { signal });
        await testBench.tearDown(wanted, { signal });
        assert.ok(!(await listed()).includes(vmId));
        await testBench.tearDown(wanted, { signal });
      });
      assert.deepEqual(await listed(), before);
    });

    it('never lets a guest that cannot answer pass', async () => {
      await withTest(async ({ testId }, vmId) => {
        const { testBench } = harness;
        const probes: readonly ProbeKind[] = [
          { type: 'agent' },
          { type: 'tcp', port: 22 },
          { type: 'http', port: 80, path: '/', status: null },
          { type: 'command', program: '/bin/true', arguments: [] },
        ];
        for (const probe of probes) {
          const command = { key, testId, vmId, probe, limitMs: LIMIT_MS };
          const { passed, why } = await testBench.probe(command, { signal });
          assert.equal(passed, false, probe.type);
          assert.notEqual(why, '');
        }
      });
    });

    it('keeps what it saw, and only that, after the test is gone', async () => {
      const { hypervisor, testBench } = harness;
      let kept: readonly string[] = [];
      let testId = '';
      await withTest(async (wanted, vmId) => {
        testId = wanted.testId;
        await hypervisor.start({ key, vmId }, { signal });
        const { files, missing } = await testBench.observe({ key, testId, vmId }, { signal });
        await testBench.observe({ key, testId, vmId }, { signal });
        kept = files.map(({ name }) => name);
        assert.ok(files.length + missing.length >= 2, 'a picture and a text, or why not');
        for (const { bytes } of files) assert.ok(bytes > 0);
      });
      for (const name of kept) {
        const content = await testBench.evidence({ testId, name }, { signal });
        assert.ok(Buffer.from(content, 'base64').length > 0);
      }
      for (const name of ['nothing.png', '../../../etc/passwd', '']) {
        await rejects('evidence-missing', testBench.evidence({ testId, name }, { signal }));
      }
      const elsewhere = { testId: '../tst-1', name: 'screen.png' };
      await rejects('evidence-missing', testBench.evidence(elsewhere, { signal }));
    });

    it('leaves VMs alone that are no tests', async () => {
      const { hypervisor, testBench } = harness;
      const before = await hypervisor.vm(source.id, { signal });
      await testBench.tearDown({ key, testId: 'tst-never' }, { signal });
      assert.deepEqual(await hypervisor.vm(source.id, { signal }), before);
    });

    it('rejects an aborted call with cancelled', async () => {
      const aborted = AbortSignal.abort();
      const wanted = await request();
      await rejects('cancelled', harness.testBench.setUp(wanted, { signal: aborted }));
    });
  });
}

async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof UnderstudyError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
