/**
 * The test bench against a real libvirtd of its own, with real guests on real bridges: above all that they reach nobody.
 *
 *   node --test src/host/libvirt/test-bench.e2e.ts
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { type TestBenchHarness, testBenchSuite } from '../../conformance/test-bench.ts';
import { branchId, operationId, operationKey, replicaId, vmId } from '../../domain/ids.ts';
import { parseProbe } from '../../domain/test-failover/probe.ts';
import type { Processes } from '../../ports/processes.ts';
import type { SetUpTest, TestBench } from '../../ports/test-bench.ts';
import { ensureGuestImage } from '../../rig/guest-image.ts';
import { type PrivateHost, startPrivateHost } from '../../rig/private-host.ts';
import { checkRequirements } from '../../rig/requirements.ts';
import { createTestVm, type TestVm } from '../../rig/test-vm.ts';
import { systemClock } from '../../system/clock.ts';
import { systemIds } from '../../system/ids.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createLibvirtHypervisor, type LibvirtHypervisor } from './hypervisor.ts';
import { createLibvirtTestBench } from './test-bench.ts';
import { testNetworkOf } from './test-network.ts';
import { createVirsh } from './virsh.ts';

const run = promisify(execFile);
const signal = new AbortController().signal;
const key = operationKey(operationId('e2e'), 'step');
const { missing, isRoot } = checkRequirements();
const skip = !isRoot ? 'needs root' : missing.length > 0 ? 'needs packages' : false;
const PROBE = [process.execPath, join(import.meta.dirname, '../../main/probe.ts')];

type Site = AsyncDisposable & {
  readonly host: PrivateHost;
  readonly hypervisor: LibvirtHypervisor;
  readonly testBench: TestBench;
  readonly folder: string;
  readonly vm: TestVm;
};

/** `processes` stands between the bench and the machine. */
async function openSite(processes: Processes, screen: boolean): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'us-tb-'));
  await using opening = new AsyncDisposableStack();
  opening.defer(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const host = opening.use(await startPrivateHost({ name: 'e2e', folder: join(folder, 'h') }));
  const virsh = createVirsh({ uri: host.uri, hostName: 'e2e', environment: host.env, processes });
  const [clock, ids] = [systemClock(), systemIds()];
  const storageFolder = join(folder, 'storage');
  await mkdir(storageFolder, { mode: 0o711 });
  const hypervisor = createLibvirtHypervisor({ virsh, processes, clock, ids, storageFolder });
  const testBench = createLibvirtTestBench({
    virsh,
    processes,
    clock,
    storageFolder,
    traits: (options) => hypervisor.traits(options),
    probeProgram: PROBE,
  });
  const image = await ensureGuestImage();
  const name = 'web "1"';
  const vm = await createTestVm({ host, name, folder: join(folder, 'vm'), image, screen });
  const resources = opening.move();
  const dispose = () => resources.disposeAsync();
  return { host, hypervisor, testBench, folder, vm, [Symbol.asyncDispose]: dispose };
}

let made = 0;

async function overlays({ folder, vm }: Site): Promise<SetUpTest['disks']> {
  made += 1;
  const branch = join(folder, 'storage', `branch-${made}`);
  await mkdir(branch);
  return Promise.all(
    vm.disks.map(async ({ target, path, format }) => {
      const overlay = join(branch, `${target}.qcow2`);
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', format, '-b', path, overlay]);
      return { key: target as never, path: overlay, format: 'qcow2' as const };
    }),
  );
}

/** As a server without the right to make networks. */
function powerless(): Processes {
  const real = systemProcesses();
  return {
    ...real,
    run: async (command, options) =>
      command.command === 'ip'
        ? {
            exitCode: 2,
            signal: null,
            stdout: '',
            stderr: 'RTNETLINK answers: Operation not permitted',
          }
        : real.run(command, options),
  };
}

for (const isolation of ['network', 'unplugged'] as const) {
  testBenchSuite(`libvirt, ${isolation}`, () => harness(isolation), { skip });
}

async function harness(isolation: TestBenchHarness['isolation']): Promise<TestBenchHarness> {
  const site = await openSite(isolation === 'network' ? systemProcesses() : powerless(), false);
  return {
    hypervisor: site.hypervisor,
    testBench: site.testBench,
    isolation,
    sourceVm: vmId(site.vm.uuid),
    makeDisks: () => overlays(site),
    [Symbol.asyncDispose]: () => site[Symbol.asyncDispose](),
  };
}

suite('guests on networks of their own', { skip }, () => {
  let site: Site;
  const running: { readonly wanted: SetUpTest; readonly vmId: ReturnType<typeof vmId> }[] = [];

  before(async () => {
    site = await openSite(systemProcesses(), true);
    for (const testId of ['tst-e2e-1', 'tst-e2e-2']) {
      const wanted = await request(testId);
      const { vmId: id } = await site.testBench.setUp(wanted, { signal });
      running.push({ wanted, vmId: id });
    }
    await Promise.all(
      running.map((one) => site.hypervisor.start({ key, vmId: one.vmId }, { signal })),
    );
  });
  after(async () => {
    for (const { wanted } of running) await site?.testBench.tearDown(wanted, { signal });
    await site?.[Symbol.asyncDispose]();
  });

  async function request(testId: string): Promise<SetUpTest> {
    return {
      key,
      testId,
      replicaId: replicaId('rp-1'),
      branchId: branchId('br-1'),
      name: `web-${testId}`,
      source: await site.hypervisor.vm(vmId(site.vm.uuid), { signal }),
      disks: await overlays(site),
      sidecars: [],
    };
  }

  const ask = (nth: number, probe: string, limitMs = 5000) => {
    const one = running[nth] ?? assert.fail();
    const { testId } = one.wanted;
    return site.testBench.probe(
      { key, testId, vmId: one.vmId, probe: parseProbe(probe), limitMs },
      { signal },
    );
  };

  async function untilPassed(nth: number, probe: string): Promise<string> {
    const until = performance.now() + 120_000;
    for (;;) {
      const { passed, why } = await ask(nth, probe);
      if (passed) return why;
      if (performance.now() > until) throw new Error(`${probe}: ${why}`);
    }
  }

  const inGuest = (nth: number, ...words: string[]) =>
    ask(nth, `command:${JSON.stringify(words)}`, 20_000);

  /** A connection is made, and at once given up. */
  const connects = (address: string, port: number) =>
    inGuest(0, 'nc', '-w', '3', address, String(port), '-e', 'true');

  test('both answer, with one MAC and one address, each to its own asker', async (t) => {
    for (const nth of [0, 1]) {
      t.diagnostic(await untilPassed(nth, 'agent'));
      const why = await untilPassed(nth, 'http:8080/');
      t.diagnostic(why);
      assert.match(why, /10\.77\.\d+\.\d+:8080 answered with status 200/);
      assert.equal((await ask(nth, 'tcp:8080')).passed, true);
      assert.equal((await inGuest(nth, 'true')).passed, true);
    }
  });

  test('a wrong status, a closed port and a failing command are told apart', async () => {
    assert.match((await ask(0, 'http:8080/=404')).why, /status 200/);
    assert.match((await ask(0, 'tcp:9')).why, /refused the connection/);
    assert.match(
      (await inGuest(0, 'sh', '-c', 'echo no such table; exit 3')).why,
      /ended with 3 and said: no such table/,
    );
    assert.match((await inGuest(0, 'nothing-here')).why, /nothing-here/);
    assert.equal((await ask(0, 'command:["sleep","60"]', 1000)).passed, false);
  });

  test("a guest that takes an address of the host's network reaches neither host nor anybody", async (t) => {
    const [name = '', found] =
      Object.entries(networkInterfaces())
        .map(
          ([each, list]) =>
            [each, list?.find(({ family, internal }) => family === 'IPv4' && !internal)] as const,
        )
        .find(([, address]) => address !== undefined) ?? [];
    if (found === undefined) return t.skip('this machine has no address');
    const server = createServer((_, answer) => answer.end('hello')).listen(0, '0.0.0.0');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      assert.equal((await fetch(`http://${found.address}:${port}/`)).status, 200, 'it listens');
      const prefix = found.cidr?.split('/')[1];
      const beside = found.address.replace(/\d+$/, (last) => String((Number(last) % 250) + 2));
      const bridge = testNetworkOf('tst-e2e-1').bridge;
      t.diagnostic(`${beside}/${prefix} beside ${found.address} of ${name}, on ${bridge}`);
      const placed = await inGuest(0, 'ip', 'addr', 'add', `${beside}/${prefix}`, 'dev', 'eth0');
      assert.equal(placed.passed, true, placed.why);
      assert.equal((await connects('127.0.0.1', 8080)).passed, true, 'the guest has the means');
      const reached = await connects(found.address, port);
      assert.match(reached.why, /can't connect|timed out|unreachable/);
      assert.equal(reached.passed, false);
      const ping = await inGuest(0, 'ping', '-c', '2', '-W', '2', found.address);
      assert.equal(ping.passed, false, ping.why);
      const removed = await inGuest(0, 'ip', 'addr', 'del', `${beside}/${prefix}`, 'dev', 'eth0');
      assert.equal(removed.passed, true, removed.why);
    } finally {
      server.close();
    }
  });

  test("even with the host's hardware address by heart, a guest gets no answer", async (t) => {
    const host = testNetworkOf('tst-e2e-1').bridge;
    const mac = (await readFile(`/sys/class/net/${host}/address`, 'utf8')).trim();
    const own = Object.values(networkInterfaces())
      .flat()
      .find((address) => address?.family === 'IPv4' && !address.internal)?.address;
    if (own === undefined) return t.skip('this machine has no address');
    const server = createTcpServer().listen(0, '0.0.0.0');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const commands = [
        `ip route add ${own}/32 dev eth0`,
        `arp -s ${own} ${mac} 2>/dev/null || ip neigh replace ${own} lladdr ${mac} dev eth0`,
        `nc -w 3 ${own} ${port} -e true`,
      ];
      const { passed, why } = await inGuest(0, 'sh', '-c', commands.join(' && '));
      assert.match(why, /can't connect|timed out|unreachable/);
      assert.equal(passed, false);
      t.diagnostic(why);
    } finally {
      server.close();
    }
  });

  test('the picture is a picture, and the console tells of the boot', async (t) => {
    const { wanted, vmId: id } = running[0] ?? assert.fail();
    const { testId } = wanted;
    const { files, missing: none } = await site.testBench.observe(
      { key, testId, vmId: id },
      { signal },
    );
    assert.deepEqual(none, []);
    t.diagnostic(JSON.stringify(files));
    const content = async (name: string) =>
      Buffer.from(await site.testBench.evidence({ testId, name }, { signal }), 'base64');
    const png = await content('screen.png');
    assert.equal(png.subarray(1, 4).toString('latin1'), 'PNG');
    assert.ok(png.readUInt32BE(16) >= 640 && png.readUInt32BE(20) >= 400);
    assert.ok(png.length > 1000, 'something is on the screen');
    assert.match((await content('serial.txt')).toString(), /guest: userland after/);
  });

  test('taken away, nothing of them is left on the machine', async () => {
    for (const { wanted } of running) await site.testBench.tearDown(wanted, { signal });
    const links = (await run('ip', ['-br', 'link'])).stdout;
    const spaces = (await run('ip', ['netns', 'list'])).stdout;
    for (const { wanted } of running) {
      const { bridge, veth, namespace } = testNetworkOf(wanted.testId);
      for (const name of [bridge, veth]) assert.ok(!links.includes(name), links);
      assert.ok(!spaces.includes(namespace), spaces);
    }
    assert.deepEqual(
      (await site.hypervisor.vms({ signal })).map(({ id }) => id),
      [site.vm.uuid],
    );
  });
});

suite('guests that are unplugged', { skip }, () => {
  test('are asked from inside, and it says so', async () => {
    await using site = await openSite(powerless(), false);
    const testId = 'tst-e2e-3';
    const source = await site.hypervisor.vm(vmId(site.vm.uuid), { signal });
    const wanted = {
      key,
      testId,
      replicaId: replicaId('rp-1'),
      branchId: branchId('br-1'),
      name: 'web-unplugged',
      source,
      disks: await overlays(site),
      sidecars: [],
    };
    const { vmId: id, isolation } = await site.testBench.setUp(wanted, { signal });
    assert.equal(isolation.kind, 'unplugged');
    assert.match(isolation.because, /Operation not permitted/);
    await site.hypervisor.start({ key, vmId: id }, { signal });
    const ask = (probe: string) =>
      site.testBench.probe(
        { key, testId, vmId: id, probe: parseProbe(probe), limitMs: 5000 },
        { signal },
      );
    const until = performance.now() + 120_000;
    while (!(await ask('agent')).passed && performance.now() < until);
    const http = await ask('http:8080/');
    assert.equal(http.passed, true, http.why);
    assert.match(http.why, /asked inside the guest: status 200/);
    assert.match((await ask('http:8080/=204')).why, /status 200/);
    assert.equal((await ask('tcp:8080')).passed, true);
    const closed = await ask('tcp:9');
    assert.equal(closed.passed, false);
    assert.match(closed.why, /refused/);
    await site.testBench.tearDown(wanted, { signal });
  });
});
