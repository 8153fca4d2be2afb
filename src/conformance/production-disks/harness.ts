/** What the suite of working layers is run on: a VM in production, and a reader and writer of endpoints. */
import assert from 'node:assert/strict';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import type { DiskKey, MarkName, OperationKey, VmId } from '../../domain/ids.ts';
import type { Hypervisor, VmCommand } from '../../ports/hypervisor.ts';
import type { BlockEndpoint, ExtentSelection } from '../../ports/mover.ts';
import type { FrozenDisk, FrozenPoint, PointSource } from '../../ports/point-source.ts';
import type { FailbackCommand, ProductionDisks } from '../../ports/production-disks.ts';

/** A VM with two empty disks of exactly 256 blocks, off. */
export interface HomeVm {
  readonly id: VmId;
  /** One that tracks changes, and one that does not. */
  readonly disks: { readonly tracked: DiskKey; readonly raw: DiskKey };
  /** The guest fills a block with a value from 1 to 255; the VM runs. */
  write(disk: DiskKey, block: number, value: number): Promise<void>;
  /** As a person does it. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** The VM runs; afterwards it is off, and the next start would resume it. */
  saveState(): Promise<void>;
  /** Its definition and every byte of its own disks, to be compared; the VM is off. */
  fingerprint(): Promise<unknown>;
  /** As the host does it. */
  remove(): Promise<void>;
}

export interface ProductionDisksHarness extends AsyncDisposable {
  readonly productionDisks: ProductionDisks;
  readonly hypervisor: Hypervisor;
  readonly pointSource: PointSource;
  makeVm(): Promise<HomeVm>;
  /** The value that fills a block; 0 for zeros. */
  read(endpoint: BlockEndpoint, block: number): Promise<number>;
  write(endpoint: BlockEndpoint, block: number, value: number): Promise<void>;
  /** The blocks that the selection names, ascending. */
  selected(endpoint: BlockEndpoint, extents: ExtentSelection): Promise<readonly number[]>;
  /** Waits for a call; a harness in virtual time lets it pass meanwhile. */
  settled<Result>(call: Promise<Result>): Promise<Result>;
}

type Look = {
  readonly key: OperationKey;
  readonly vmId: VmId;
  readonly mark: MarkName;
  readonly since: MarkName | null;
};

/** Frozen and read, as the next replication would. */
export async function whileSeen<Result>(
  { hypervisor, pointSource, settled }: ProductionDisksHarness,
  { key, vmId, mark, since }: Look,
  use: (point: FrozenPoint) => Promise<Result>,
): Promise<Result> {
  const { signal } = new AbortController();
  const vm = await settled(hypervisor.vm(vmId, { signal }));
  const disks = vm.disks.map((disk) => disk.key);
  const request = {
    ...{ key, vmId, disks, mark },
    since: since === null ? {} : Object.fromEntries(disks.map((disk) => [disk, since])),
    quiesce: 'never',
    scratch: { quotaBytes: null, reserveBytes: 0, deadlineMs: 3_600_000 },
  } as const;
  const point = await settled(pointSource.freeze(request, { signal }));
  try {
    return await use(point);
  } finally {
    await settled(pointSource.end({ key, vmId }, { signal }));
  }
}

export function diskIn({ disks }: FrozenPoint, key: DiskKey): FrozenDisk {
  const disk = disks.find((candidate) => candidate.key === key);
  assert.ok(disk !== undefined, `disk ${key}`);
  return disk;
}

export async function valuesAt(
  harness: ProductionDisksHarness,
  endpoint: BlockEndpoint,
  blocks: readonly number[],
): Promise<number[]> {
  const read: number[] = [];
  for (const block of blocks) read.push(await harness.read(endpoint, block));
  return read;
}

export async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** The highest epoch seen, and how this failback is found: its state and its VM. */
export async function foundAs(
  harness: ProductionDisksHarness,
  { replicaId, failbackId }: FailbackCommand,
): Promise<readonly unknown[]> {
  const { signal } = new AbortController();
  const { epoch, failbacks } = await harness.settled(
    harness.productionDisks.found(replicaId, { signal }),
  );
  const own = failbacks.find((one) => one.failbackId === failbackId);
  return [epoch, own?.state ?? 'none', own?.vmId ?? null];
}

/** Nothing to power off is as good. */
export async function powerOff(
  { hypervisor, settled }: ProductionDisksHarness,
  command: VmCommand,
): Promise<void> {
  const { signal } = new AbortController();
  await settled(hypervisor.powerOff(command, { signal })).catch(() => {});
}
