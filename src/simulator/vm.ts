/**
 * One simulated VM: its definition, its power and what its guest does to its disks. Guest writes go through here, so
 * that marks remember them and a freeze saves what they overwrite.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { DiskKey, ReplicaId, VmId } from '../domain/ids.ts';
import type { PowerState, VmDescription, VmDisk, VmNic } from '../domain/vm/vm.ts';
import { diskAt } from './files.ts';
import { type Freeze, saveOldBlock, spoil } from './freeze.ts';
import { appendRecord, type Guest, type LedgerDisk, ledgerRecords } from './guest.ts';
import { refuseHeld, type SimulatedHost, type Surroundings } from './host.ts';
import { type Image, readBlock, type Token, writeBlock } from './image.ts';

export type DiskSlot = {
  readonly key: DiskKey;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** As defined; the truth is the image's own size where there is one. */
  readonly sizeBytes: number;
  readonly unsupportedBecause: string | null;
};

export type VmState = {
  readonly id: VmId;
  name: string;
  memoryBytes: number;
  cpuCount: number;
  disks: readonly DiskSlot[];
  nics: readonly VmNic[];
  /** The definition, with elements that nobody else knows. */
  definition: string;
  hasSavedState: boolean;
  sidecars: Map<'nvram' | 'tpm', string>;
  readonly guest: Guest;
  /** Whose stand-in it is; null for a VM of its own. */
  readonly replicaId: ReplicaId | null;
  /** The test failover that it exists for. */
  readonly testId?: string;
  /** The same for a VM and its replicas: two of one identity must not meet on a network. */
  readonly identity: VmId;
};

export class SimulatedVm {
  readonly state: VmState;
  freeze: Freeze | null = null;
  /** What somebody else's job does to it, which keeps ours out; else null. */
  foreignJob: string | null = null;
  hasInternalSnapshot = false;
  /** Every time the guest was stopped by its hypervisor, and why. */
  readonly pauses: string[] = [];
  /** How often its change marks were lost with its power. */
  powerLosses = 0;
  #power: 'running' | 'paused' | 'off' = 'off';
  #open: ReadonlyMap<DiskKey, Image> = new Map();
  #startedAtMs = 0;
  #heart: Disposable | null = null;
  #nextRecord = 1;
  readonly #host: SimulatedHost;
  readonly #around: Surroundings;

  constructor(vm: { state: VmState; host: SimulatedHost; around: Surroundings }) {
    this.state = vm.state;
    this.#host = vm.host;
    this.#around = vm.around;
  }

  get id(): VmId {
    return this.state.id;
  }

  get power(): PowerState {
    return this.#power;
  }

  get isConnected(): boolean {
    return this.#power !== 'off' && this.state.nics.some(isOnProductionNetwork);
  }

  /** Milliseconds until its guest answers; null when it never will. */
  answersInMs(): number | null {
    const { guest } = this.state;
    if (this.#power !== 'running' || !guest.hasAgent) return null;
    return Math.max(0, this.#startedAtMs + guest.bootMs - this.#around.clock.monotonicMs());
  }

  /** Milliseconds until its services can be reached; null while it does not run. */
  bootsInMs(): number | null {
    if (this.#power !== 'running') return null;
    const { bootMs } = this.state.guest;
    return Math.max(0, this.#startedAtMs + bootMs - this.#around.clock.monotonicMs());
  }

  /** Throws `hypervisor-refused` when a disk does not exist, `disk-in-use` when another VM has it, `start-held`. */
  start(): void {
    if (this.#power !== 'off') return;
    refuseHeld(this.#host, this.id);
    if (this.state.memoryBytes > this.#host.memoryBytes) {
      throw refused(`start ${this.state.name}`, 'its host has not so much memory');
    }
    const open = new Map<DiskKey, Image>();
    for (const disk of this.state.disks) open.set(disk.key, this.#openable(disk));
    this.#open = open;
    this.#power = 'running';
    this.state.hasSavedState = false;
    this.#startedAtMs = this.#around.clock.monotonicMs();
    if (this.freeze !== null && !this.freeze.isLive) spoil(this.freeze, 'the VM was started');
    this.#startLedger();
  }

  /** The guest's disks were closed properly: change marks are kept. */
  stop(): void {
    this.#heart?.[Symbol.dispose]();
    this.#heart = null;
    if (this.freeze?.isLive === true) spoil(this.freeze, 'the VM was stopped');
    this.#power = 'off';
    this.#open = new Map();
  }

  /** As by kill -9 of its QEMU or a power loss of its host: change marks are lost. */
  losePower(): void {
    this.powerLosses += 1;
    for (const image of this.#open.values()) image.marks.clear();
    this.stop();
  }

  /** Puts the guest's memory into a file, which a start resumes. */
  save(): void {
    this.stop();
    this.state.hasSavedState = true;
  }

  /** The hypervisor stops the guest because it cannot write. */
  pause(because: string): void {
    this.#power = 'paused';
    this.pauses.push(because);
  }

  resume(): void {
    if (this.#power === 'paused') this.#power = 'running';
  }

  /** What the guest writes. Nothing is written while it is paused or off. */
  write(key: DiskKey, index: number, token: Token): void {
    if (this.#power !== 'running') return;
    const image = this.image(key);
    if (this.freeze !== null && !saveOldBlock(this.freeze, image, index)) {
      this.pause('scratch is full');
      return;
    }
    try {
      writeBlock(image, index, token);
    } catch (error) {
      if (!(error instanceof UnderstudyError)) throw error;
      this.pause(error.message);
    }
  }

  /** What the guest trims: the block is not allocated any more, and reads as zeros. */
  discard(key: DiskKey, index: number): void {
    this.write(key, index, 0);
    const image = this.image(key);
    if (this.#power === 'running' && image.backing === null) image.blocks.delete(index);
  }

  read(key: DiskKey, index: number): Token {
    return readBlock(this.image(key), index);
  }

  /** The numbers of its ledger's records, ascending. */
  ledger(): readonly number[] {
    const { ledger } = this.state.guest;
    return ledger === null ? [] : ledgerRecords(this.#ledgerDisk(ledger.disk));
  }

  /** The disk as it is open, or as it lies there. Throws `hypervisor-refused`. */
  image(key: DiskKey): Image {
    const open = this.#open.get(key);
    if (open !== undefined) return open;
    const slot = this.state.disks.find((disk) => disk.key === key);
    if (slot === undefined) throw refused(`use disk ${key}`, 'the VM has no such disk');
    return this.#existing(slot);
  }

  /** Goes on with another image that reads the same, as a block job's pivot does. */
  pivot(key: DiskKey, image: Image): void {
    if (this.#open.has(key)) this.#open = new Map(this.#open).set(key, image);
  }

  openImages(): readonly Image[] {
    return [...this.#open.values()];
  }

  describe(): VmDescription {
    const { state } = this;
    return {
      id: state.id,
      name: state.name,
      power: this.#power,
      memoryBytes: state.memoryBytes,
      cpuCount: state.cpuCount,
      disks: state.disks.map((disk) => this.#describeDisk(disk)),
      nics: state.nics,
      configuration: { format: 'simulated', text: state.definition },
      hasSavedState: state.hasSavedState,
    };
  }

  #describeDisk({ key, path, format, sizeBytes, unsupportedBecause }: DiskSlot): VmDisk {
    const image = this.#open.get(key) ?? diskAt(this.#around.files, path);
    const tracksChanges = format === 'qcow2';
    const size = image?.sizeBytes ?? sizeBytes;
    return { key, sizeBytes: size, path, format, tracksChanges, unsupportedBecause };
  }

  #existing({ path }: DiskSlot): Image {
    const image = diskAt(this.#around.files, path);
    if (image === null) throw refused(`open ${path}`, 'no such file');
    return image;
  }

  #openable(slot: DiskSlot): Image {
    const image = this.#existing(slot);
    for (const vm of this.#host.vms.values()) {
      if (vm === this || !vm.openImages().includes(image)) continue;
      const reason = `VM ${vm.state.name} has it open`;
      throw new UnderstudyError('disk-in-use', { disk: slot.key, vm: this.state.name, reason });
    }
    return image;
  }

  #startLedger(): void {
    const { ledger } = this.state.guest;
    if (ledger === null || !this.#open.has(ledger.disk)) return;
    this.#nextRecord = (this.ledger().at(-1) ?? 0) + 1;
    this.#heart = this.#around.clock.every(ledger.everyMs, () => {
      if (this.#power !== 'running') return;
      appendRecord(this.#ledgerDisk(ledger.disk), this.#nextRecord);
      if (this.power === 'running') this.#nextRecord += 1;
    });
  }

  #ledgerDisk(key: DiskKey): LedgerDisk {
    const { sizeBytes } = this.image(key);
    return {
      sizeBytes,
      read: (index) => this.read(key, index),
      write: (index, token) => this.write(key, index, token),
    };
  }
}

/** Networks of a test are on no wire. */
function isOnProductionNetwork({ isConnected, network }: VmNic): boolean {
  return isConnected && !network.startsWith(ISOLATED);
}

export const ISOLATED = 'isolated:';

export function refused(action: string, reason: string): UnderstudyError {
  return new UnderstudyError('hypervisor-refused', { action, reason });
}
