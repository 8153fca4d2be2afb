/**
 * A VM on a private host that boots the guest image in seconds and tells over HTTP what is on its disks.
 *
 * It is addressed by UUID everywhere; the name may be hostile. It is reached through a port of the loopback
 * interface forwarded to its user network, made anew whenever its QEMU is a new one.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DomainDisk, domainXml } from './domain-xml.ts';
import type { GuestImage } from './guest-image.ts';
import {
  getJson,
  type HttpOptions,
  type LedgerRecord,
  type LedgerState,
  parseLedgerRecord,
  parseLedgerState,
  waitForLedger,
} from './ledger-client.ts';
import { forwardGuestPort } from './port-forward.ts';
import type { PrivateHost } from './private-host.ts';
import { killIfAlive, waitForExit } from './processes.ts';
import { createDisks, type DiskSpec } from './test-disks.ts';

export interface TestVmOptions {
  readonly host: PrivateHost;
  readonly name: string;
  /** Holds the disks; made when absent. All folders above must be searchable by others (QEMU's own user). */
  readonly folder: string;
  readonly image: GuestImage;
  /** Default: a qcow2 copy of the image, and a blank qcow2 of 256 MiB for the ledger. */
  readonly disks?: readonly DiskSpec[];
  /** Default 160. */
  readonly memoryMiB?: number;
  /** Default `pc`, whose BIOS is the quickest. */
  readonly machine?: string;
  /** Default true. */
  readonly guestAgent?: boolean;
  readonly macAddress?: string;
  readonly uuid?: string;
  /** Writes the serial console to `console.log` in the folder; default: a pseudo-terminal. */
  readonly consoleLog?: boolean;
  /** A graphics card, so that there is a picture of its screen; default: none, which boots sooner. */
  readonly screen?: boolean;
  readonly signal?: AbortSignal;
}

export interface TestVm {
  readonly uuid: string;
  readonly name: string;
  readonly macAddress: string;
  readonly disks: readonly DomainDisk[];
  start(): Promise<void>;
  /** Asks the running guest, for example `/pause`; the answer is JSON. */
  http(path: string, options?: HttpOptions): Promise<Record<string, unknown>>;
  /** Until the guest answers and its ledger is verified. */
  waitForHttp(options?: { deadlineMs?: number; signal?: AbortSignal }): Promise<LedgerState>;
  ledger(): Promise<LedgerState>;
  /** A record of the ledger as it is on disk. @throws Error when there is no intact one. */
  ledgerRecord(seq: number): Promise<LedgerRecord>;
  /** Base URL of another forwarding, by default to port 8080 of the guest. */
  forwardPort(guestPort?: number): Promise<string>;
  /** A command of the guest agent, such as `guest-ping`; returns its `return` value. */
  agent(command: string): Promise<unknown>;
  /** What virsh domstate says, for example `running` or `shut off`. */
  state(): Promise<string>;
  /** Through the guest: ACPI power button (default) or guest agent. Returns when it is off. */
  shutdown(mode?: 'acpi' | 'agent'): Promise<void>;
  /** SIGKILL to its QEMU. */
  hardKill(): Promise<void>;
  /** Switches off at once; nothing happens when it is off. */
  destroy(): Promise<void>;
  /** Removes the definition and what libvirt keeps with it; the disks stay. */
  undefine(): Promise<void>;
}

const shutdownDeadlineMs = 60_000;

/** Creates the disks and defines the VM; it is not started. */
export async function createTestVm(options: TestVmOptions): Promise<TestVm> {
  const { host, name, folder, image, signal } = options;
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o755);
  await requireSearchable(dirname(folder));
  const uuid = options.uuid ?? randomUUID();
  const macAddress = options.macAddress ?? randomMacAddress();
  const specs = options.disks ?? [{ content: 'system' }, { content: 'blank' }];
  const disks = await createDisks({ folder, image, specs, signal });
  const xml = domainXml({
    name,
    uuid,
    macAddress,
    disks,
    memoryMiB: options.memoryMiB ?? 160,
    machine: options.machine ?? 'pc',
    guestAgent: options.guestAgent ?? true,
    consolePath: options.consoleLog === true ? await createConsoleLog(folder) : null,
    screen: options.screen ?? false,
  });
  const definition = join(folder, 'domain.xml');
  await writeFile(definition, xml);
  await host.virsh(['define', definition], { signal });
  return testVm({ host, uuid, name, macAddress, disks, signal });
}

function testVm({
  host,
  uuid,
  name,
  macAddress,
  disks,
  signal,
}: {
  host: PrivateHost;
  uuid: string;
  name: string;
  macAddress: string;
  disks: readonly DomainDisk[];
  signal: AbortSignal | undefined;
}): TestVm {
  const domain = ['--domain', uuid];
  const virsh = (args: readonly string[]) => host.virsh(args, { signal });
  const baseUrl = forwardedUrl({ host, uuid, signal });
  const http = async (path: string, options: HttpOptions = {}) =>
    getJson(`${await baseUrl()}${path}`, { signal, ...options });
  const state = async () => (await virsh(['domstate', ...domain])).trim();
  return {
    uuid,
    name,
    macAddress,
    disks,
    start: async () => void (await virsh(['start', ...domain])),
    http,
    waitForHttp: async (options = {}) => waitForLedger(await baseUrl(), { signal, ...options }),
    ledger: async () => parseLedgerState(await http('/')),
    ledgerRecord: async (seq) => parseLedgerRecord(await http(`/record/${seq}`)),
    forwardPort: (guestPort = 8080) => forwardGuestPort({ host, domain: uuid, guestPort, signal }),
    async agent(command) {
      const request = JSON.stringify({ execute: command });
      return parseReturn(await virsh(['qemu-agent-command', ...domain, '--cmd', request]));
    },
    state,
    async shutdown(mode = 'acpi') {
      await virsh(['shutdown', ...domain, '--mode', mode]);
      const end = Date.now() + shutdownDeadlineMs;
      while ((await state()) !== 'shut off') {
        if (Date.now() > end) throw new Error(`VM ${name} does not shut down`);
        await sleep(50, undefined, { signal });
      }
    },
    async hardKill() {
      const pid = host.qemuPid(uuid);
      if (pid === undefined) throw new Error(`VM ${name} has no QEMU to kill`);
      killIfAlive(pid);
      await waitForExit(pid);
    },
    async destroy() {
      if (host.qemuPid(uuid) !== undefined) await virsh(['destroy', ...domain]);
    },
    async undefine() {
      const kept = ['--managed-save', '--snapshots-metadata', '--checkpoints-metadata', '--nvram'];
      await virsh(['undefine', ...domain, ...kept]);
    },
  };
}

/** Remembers the forwarding for as long as the same QEMU runs; then it works without the daemon, too. */
function forwardedUrl({
  host,
  uuid,
  signal,
}: {
  host: PrivateHost;
  uuid: string;
  signal: AbortSignal | undefined;
}): () => Promise<string> {
  let known: { pid: number; url: string } | undefined;
  return async () => {
    const pid = host.qemuPid(uuid);
    if (pid === undefined) throw new Error(`VM ${uuid} does not run on host ${host.name}`);
    if (known?.pid !== pid) {
      known = { pid, url: await forwardGuestPort({ host, domain: uuid, signal }) };
    }
    return known.url;
  };
}

function parseReturn(output: string): unknown {
  const answer: unknown = JSON.parse(output);
  return typeof answer === 'object' && answer !== null && 'return' in answer
    ? answer.return
    : undefined;
}

/** In the range of QEMU's own prefix. */
function randomMacAddress(): string {
  return ['52', '54', '00', ...(randomBytes(3).toString('hex').match(/../g) ?? [])].join(':');
}

/** QEMU opens it as its own user. */
async function createConsoleLog(folder: string): Promise<string> {
  const path = join(folder, 'console.log');
  await writeFile(path, '');
  await chmod(path, 0o666);
  return path;
}

async function requireSearchable(folder: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  for (let path = folder; path !== '/'; path = dirname(path)) {
    const searchable = ((await stat(path)).mode & 0o001) !== 0;
    if (!searchable) {
      throw new Error(
        `QEMU runs as another user and cannot pass ${path}: make it searchable (0711)`,
      );
    }
  }
}
