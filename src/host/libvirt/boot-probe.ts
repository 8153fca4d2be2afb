/**
 * A guest of 86 bytes that tells whether guests run at all: it boots from a disk, enters protected mode, counts
 * down a hundred million times and writes a word into its memory, where the monitor finds it.
 *
 * The counting matters: there are hosts on which `/dev/kvm` opens and firmware starts, yet ring-0 code is interpreted
 * instruction by instruction, and no kernel ever comes up. Real hardware counts that far in 0.1 s, QEMU's own
 * translator in 0.4 s, such a host not within minutes.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import { hasCode } from './errors.ts';
import { unlessRefused } from './inspect.ts';
import { makeStorageFolder } from './storage-access.ts';
import type { Virsh } from './virsh.ts';
import { append, createRoot, serialiseXml } from './xml.ts';

export type ProbeTools = {
  readonly virsh: Virsh;
  readonly clock: Clock;
  /** A folder that QEMU may read files in; it is made when missing. */
  readonly folder: string;
};

/** One per host, so that a probe left by a killed process is found and ended by the next. */
const PROBE_NAME = 'understudy-acceleration-probe';
const PROBE_UUID = '7d2ad1f8-3a35-4f3e-9d5c-0d5f2a1c7e11';

const POLL_MS = 50;
const DISK_BYTES = 1024 * 1024;

/**
 *   cli; ds = 0; lgdt [0x7c50]; cr0 |= 1; jmp 8:0x7c1b          16 bit, loaded at 0x7c00
 *   ds = 16; ecx = 100000000; 1: dec ecx; jnz 1b                32 bit
 *   [0x600] = 0x4b4f5355; 2: hlt; jmp 2b
 *   0x38: null descriptor, flat code, flat data; 0x50: their limit and address
 */
const BOOT_CODE = Buffer.from(
  'fa31c08ed8660f0116507c0f20c00c010f22c066ea1b7c0000080066b810008ed8b900e1f5054975fdc7050006000055534f4b' +
    'f4ebfd66900000000000000000ffff0000009acf00ffff00000092cf001700387c0000',
  'hex',
);
const PEEK = 'xp /1wx 0x600';
const SUCCESS = /0x4b4f5355\b/i;

/** Whether a guest of this type boots within the deadline. Throws `host-unreachable`, `cancelled`. */
export async function bootsGuest(
  tools: ProbeTools,
  { domainType, deadlineMs }: { readonly domainType: 'kvm' | 'qemu'; readonly deadlineMs: number },
  { signal }: CallOptions,
): Promise<boolean> {
  const { virsh } = tools;
  const folder = join(tools.folder, `.${PROBE_NAME}`);
  const image = join(folder, 'boot.img');
  await makeStorageFolder(tools.folder);
  try {
    await end(virsh, { signal });
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await writeFile(image, bootImage(), { mode: 0o644 });
    const xml = { file: probeXml({ domainType, image }) };
    const created = virsh.run(['create', xml], { signal, timeoutMs: deadlineMs + 30_000 });
    if ((await unlessRefused(created)) === null) return false;
    return await answers(tools, deadlineMs, { signal });
  } finally {
    // Also after an abort: what was begun is ended. The deadline of the command bounds it.
    await end(virsh, { signal: new AbortController().signal });
    await rm(folder, { recursive: true, force: true });
  }
}

async function answers(
  { virsh, clock }: ProbeTools,
  deadlineMs: number,
  { signal }: CallOptions,
): Promise<boolean> {
  const until = clock.monotonicMs() + deadlineMs;
  while (clock.monotonicMs() < until) {
    const peek = virsh.run(['qemu-monitor-command', '--hmp', '--', PROBE_UUID, PEEK], { signal });
    const memory = await unlessGone(peek);
    if (memory === null) return false;
    if (SUCCESS.test(memory)) return true;
    await clock.sleep(POLL_MS, { signal });
  }
  return false;
}

async function end(virsh: Virsh, options: CallOptions): Promise<void> {
  await unlessGone(virsh.run(['destroy', '--', PROBE_UUID], options));
}

/** A QEMU that aborts takes its transient VM with it. */
async function unlessGone(call: Promise<string>): Promise<string | null> {
  try {
    return await call;
  } catch (error) {
    if (hasCode(error, 'vm-missing', 'hypervisor-refused')) return null;
    throw error;
  }
}

function bootImage(): Buffer {
  const disk = Buffer.alloc(DISK_BYTES);
  BOOT_CODE.copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

function probeXml({ domainType, image }: { domainType: string; image: string }): string {
  const domain = createRoot('domain', { type: domainType });
  append(domain, 'name', {}, PROBE_NAME);
  append(domain, 'uuid', {}, PROBE_UUID);
  append(domain, 'memory', { unit: 'MiB' }, '16');
  append(domain, 'vcpu', {}, '1');
  const os = append(domain, 'os');
  append(os, 'type', { arch: 'x86_64' }, 'hvm');
  append(os, 'boot', { dev: 'hd' });
  // The processor that real guests get: passing it through is what fails on half-working hosts.
  if (domainType === 'kvm') append(domain, 'cpu', { mode: 'host-passthrough' });
  const devices = append(domain, 'devices');
  const disk = append(devices, 'disk', { type: 'file', device: 'disk' });
  append(disk, 'driver', { name: 'qemu', type: 'raw' });
  append(disk, 'source', { file: image });
  append(disk, 'target', { dev: 'vda', bus: 'virtio' });
  append(disk, 'readonly');
  append(devices, 'controller', { type: 'usb', model: 'none' });
  append(devices, 'memballoon', { model: 'none' });
  return serialiseXml(domain);
}
