/** Makes the disk images of a rig VM in the VM's folder. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';
import type { DomainDisk } from './domain-xml.ts';
import type { GuestImage } from './guest-image.ts';

export interface DiskSpec {
  /** `system`: a copy of the guest image. `blank`: empty; the guest uses the second disk for its ledger. */
  readonly content: 'system' | 'blank';
  /** For a blank disk; default 256 MiB, of which half is for the ledger (32,768 records). */
  readonly sizeBytes?: number;
  /** Default qcow2. */
  readonly format?: 'qcow2' | 'raw';
  /** Differencing qcow2 layers on top of the image, as after snapshots; default 0. */
  readonly overlays?: number;
}

const defaultSizeBytes = 256 * 1024 * 1024;

/** Returns the disks as vda, vdb, ... in the order of the specifications (26 at most). */
export async function createDisks({
  folder,
  image,
  specs,
  signal,
}: {
  folder: string;
  image: GuestImage;
  specs: readonly DiskSpec[];
  signal: AbortSignal | undefined;
}): Promise<DomainDisk[]> {
  const disks: DomainDisk[] = [];
  for (const spec of specs) {
    const target = `vd${String.fromCharCode(97 + disks.length)}`;
    const base = await createBase({ folder, image, spec, target, signal });
    disks.push(await addOverlays({ base, folder, count: spec.overlays ?? 0, signal }));
  }
  return disks;
}

async function createBase({
  folder,
  image,
  spec,
  target,
  signal,
}: {
  folder: string;
  image: GuestImage;
  spec: DiskSpec;
  target: string;
  signal: AbortSignal | undefined;
}): Promise<DomainDisk> {
  const format = spec.format ?? 'qcow2';
  const path = join(folder, `${target}.${format}`);
  if (spec.content === 'blank') {
    const size = String(spec.sizeBytes ?? defaultSizeBytes);
    await run('qemu-img', ['create', '-q', '-f', format, path, size], { signal });
  } else if (format === 'qcow2') {
    await copyFile(image.systemDiskPath, path);
  } else {
    const from = image.systemDiskPath;
    await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', from, path], { signal });
  }
  return { target, path, format };
}

async function addOverlays({
  base,
  folder,
  count,
  signal,
}: {
  base: DomainDisk;
  folder: string;
  count: number;
  signal: AbortSignal | undefined;
}): Promise<DomainDisk> {
  let top = base;
  for (let layer = 1; layer <= count; layer++) {
    const path = join(folder, `${base.target}.overlay${layer}.qcow2`);
    const backing = ['-b', top.path, '-F', top.format];
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, path], { signal });
    top = { target: base.target, path, format: 'qcow2' };
  }
  return top;
}
