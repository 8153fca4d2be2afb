/** What was measured on: figures without it mean nothing. */
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { run } from '../../src/rig/command.ts';
import type { PrivateHost } from '../../src/rig/private-host.ts';

export async function describeMachine(host: PrivateHost): Promise<string> {
  const version = await host.virsh(['version']);
  const said = (line: RegExp) => line.exec(version)?.[1] ?? 'unknown';
  const memoryGib = Math.round(totalmem() / 1024 ** 3);
  return [
    `${availableParallelism()} x ${cpus()[0]?.model ?? 'unknown CPU'}, ${memoryGib} GiB`,
    `Linux ${release()}, ${await fileSystemOf(tmpdir())} at ${tmpdir()}`,
    `libvirt ${said(/Using API: QEMU ([\d.]+)/)}, QEMU ${said(/hypervisor: QEMU ([\d.]+)/)} under TCG, Node ${process.version}`,
    `load before: ${load()}`,
  ].join('\n');
}

export function load(): string {
  return loadavg()
    .map((value) => value.toFixed(2))
    .join(' ');
}

async function fileSystemOf(folder: string): Promise<string> {
  const { type } = statfsSync(folder);
  const name = (await run('stat', ['-f', '-c', '%T', '--', folder])).trim();
  return name === '' ? `file system ${type}` : name;
}

/** Resident now and at most so far, in MiB, from proc_pid_status(5). */
export function memoryOf(pid: number) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mib = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return { restMib: mib('VmRSS'), ownMib: mib('RssAnon'), peakMib: mib('VmHWM') };
}
