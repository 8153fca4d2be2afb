/**
 * The production engine on a simulated world: two hosts, a VM that writes a ledger, a controller on a journal
 * file that can be killed at any instant and started again on the same file.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { MIB } from '../../src/domain/bytes.ts';
import type { Host } from '../../src/domain/host/host.ts';
import { diskKey, hostId } from '../../src/domain/ids.ts';
import { DEFAULT_ARCHIVE_SECONDS, DEFAULT_SCRATCH } from '../../src/domain/job/job.ts';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Replica } from '../../src/domain/replica/replica.ts';
import { createSqliteDurable } from '../../src/durable/sqlite/engine.ts';
import { JOURNAL_SCHEMA } from '../../src/durable/sqlite/schema.ts';
import { createController } from '../../src/engine/control/controller.ts';
import type { ControllerPorts } from '../../src/engine/control/controller-ports.ts';
import { operationDefinitions } from '../../src/engine/operations.ts';
import { scheduleRuns, sweepAll } from '../../src/engine/scheduler.ts';
import { watchSources } from '../../src/engine/watch-sources.ts';
import type { Controller } from '../../src/ports/controller.ts';
import type { CreateJob } from '../../src/ports/job-orders.ts';
import { readCatalogue } from '../../src/simulator/catalogue-view.ts';
import { createCheckers } from '../../src/simulator/checkers.ts';
import { CrashSignal } from '../../src/simulator/faults.ts';
import type { GuestSpec } from '../../src/simulator/guest.ts';
import type { SimulatedHost } from '../../src/simulator/host.ts';
import type { SimulatedVm } from '../../src/simulator/vm.ts';
import { type ControllerView, createWorld, type World } from '../../src/simulator/world.ts';
import { createSqliteCatalog } from '../../src/store/catalog.ts';
import { openDatabase } from '../../src/store/database.ts';
import { CATALOG_SCHEMA } from '../../src/store/schema.ts';

export const VDA = diskKey('vda');
export const VDB = diskKey('vdb');
export const options = { signal: new AbortController().signal, seed: null } as const;

/** One life of a controller. */
export type Life = {
  readonly view: ControllerView;
  readonly ports: ControllerPorts;
  readonly controller: Controller;
};

export class Stage implements AsyncDisposable {
  readonly world: World;
  readonly production: SimulatedHost;
  readonly recovery: SimulatedHost;
  readonly vm: SimulatedVm;
  life: Life;
  readonly #folder = mkdtempSync(join(tmpdir(), 'stage-'));
  readonly #checkers = createCheckers();
  readonly #acknowledged = new Set<OperationRecord['id']>();
  #database: DatabaseSync;
  #crashIn = Number.POSITIVE_INFINITY;
  /** The journal's moment at which the controller died, once it did. */
  diedAt: string | null = null;

  private constructor(seed: number, guest: GuestSpec) {
    this.world = createWorld({ seed });
    this.production = this.world.addHost({ id: hostId('production') });
    this.recovery = this.world.addHost({ id: hostId('recovery') });
    this.vm = this.world.addVm(this.production, {
      name: 'web',
      guest,
      disks: [
        { key: VDA, sizeBytes: 8 * MIB },
        { key: VDB, sizeBytes: 16 * MIB },
      ],
    });
    this.#database = this.#openDatabase();
    this.life = this.#beginLife();
  }

  /** A running VM with some content, both hosts known, nothing protected yet. */
  static async open(seed = 1, guest: GuestSpec = {}): Promise<Stage> {
    const stage = new Stage(seed, guest);
    stage.vm.start();
    for (let block = 0; block < 20; block += 1) stage.vm.write(VDA, block, `boot-${block}`);
    await stage.addHosts();
    return stage;
  }

  /** The controller's data is gone with it; a new one knows both hosts and nothing else. */
  async loseData(): Promise<void> {
    if (!this.life.view.isDead()) this.life.view.kill();
    if (this.#database.isOpen) this.#database.close();
    for (const name of readdirSync(this.#folder)) rmSync(join(this.#folder, name));
    this.#acknowledged.clear();
    this.#database = this.#openDatabase();
    this.life = this.#beginLife();
    await this.addHosts();
  }

  private async addHosts(): Promise<void> {
    for (const { id } of [this.production, this.recovery]) await this.knowHost(id);
  }

  /** The controller hears of it, as by `host add`. */
  async knowHost(id: Host['id']): Promise<void> {
    const host: Host = {
      id,
      name: id,
      kind: 'simulated',
      address: `sim:${id}`,
      storageFolder: `/${id}/replicas`,
      scratchFolder: `/${id}/scratch`,
      transferSlots: 2,
      testSlots: 2,
      storageReserveBytes: null,
      startGuard: null,
      addedAt: this.world.clock.now(),
    };
    await this.life.ports.catalog.apply([{ type: 'host-saved', host, expectedVersion: null }]);
  }

  #openDatabase(): DatabaseSync {
    const path = join(this.#folder, 'understudy.db');
    if (!existsSync(path)) writeFileSync(path, emptyDatabase());
    const database = openDatabase({ path, schemas: SCHEMAS });
    database.exec('PRAGMA synchronous = OFF'); // only processes die here, never the machine
    return database;
  }

  /** Another controller beside the first, on a copy of its data as they are now. It has not resumed anything. */
  oldCopy(): Life & Disposable {
    const path = join(this.#folder, `copy-${this.world.clock.monotonicMs()}.db`);
    this.#database.exec(`VACUUM INTO '${path}'`);
    const database = openDatabase({ path, schemas: SCHEMAS });
    const life = this.#beginLife(database);
    return { ...life, [Symbol.dispose]: () => life.view.kill() };
  }

  #beginLife(database = this.#database): Life {
    const view = this.world.connect({ crashStyle: 'throw', onCrash: () => database.close() });
    const catalog = createSqliteCatalog({ database });
    const { clock, ids, hosts, mover } = view;
    const applyChanges = catalog.applyInTransaction.bind(catalog);
    const durable = createSqliteDurable({
      database,
      applyChanges,
      clock,
      ids,
      onFault: () => undefined,
      nextTurn: (flush) => this.#holdingTime(flush),
      onCrashPoint: (point) => this.#passCrashPoint(point, view),
    });
    const ports: ControllerPorts = {
      catalog,
      hosts,
      mover,
      clock,
      ids,
      durable,
      misses: new Map(),
    };
    for (const definition of operationDefinitions(ports, durable)) durable.register(definition);
    return { view, ports, controller: createController(ports) };
  }

  /** The controller dies at the nth named moment of the journal from now on. */
  crashAtJournalPoint(nth: number): void {
    this.#crashIn = nth;
  }

  #passCrashPoint(point: string, view: ControllerView): void {
    this.#crashIn -= 1;
    if (this.#crashIn !== 0) return;
    this.diedAt = point;
    view.kill();
    throw new CrashSignal(point);
  }

  /** A commit takes no virtual time, though it takes a turn of the event loop. */
  #holdingTime(flush: () => void): void {
    const hold = this.world.clock.hold();
    setImmediate(() => {
      flush();
      hold[Symbol.dispose]();
    });
  }

  /** The controller comes back after it died (or is killed now) and continues. */
  async restart(): Promise<void> {
    if (!this.life.view.isDead()) this.life.view.kill();
    if (this.#database.isOpen) this.#database.close();
    this.#database = this.#openDatabase();
    this.life = this.#beginLife();
    await this.life.ports.durable.resume();
  }

  /** A job for the VM, run by hand; answers the replica. */
  async protect(wishes: Partial<CreateJob> = {}): Promise<Replica> {
    const creation = await this.run(
      this.life.controller.createJob(this.jobRequest(wishes), options),
    );
    if (creation.type === 'blocked') throw new Error(JSON.stringify(creation.findings));
    return this.replica();
  }

  jobRequest(wishes: Partial<CreateJob> = {}): CreateJob {
    return {
      name: 'nightly',
      sourceHost: 'production',
      targetHost: 'recovery',
      vms: ['web'],
      rpoSeconds: 900,
      isScheduled: false,
      retention: { keepLast: 5, tiers: [] },
      quiesce: 'never',
      replicaSuffix: '-replica',
      networkMap: {},
      bytesPerSecondMax: null,
      archiveSeconds: DEFAULT_ARCHIVE_SECONDS,
      scratch: DEFAULT_SCRATCH,
      testing: null,
      ...wishes,
    };
  }

  /** The one that was made last. */
  async replica(): Promise<Replica> {
    const all = await this.life.ports.catalog.replicas();
    const found = all.at(-1);
    if (found === undefined) throw new Error('nothing is protected yet');
    return found.value;
  }

  /** Of the replica. */
  async conditionNames(): Promise<readonly string[]> {
    const { id } = await this.replica();
    return (await this.life.ports.catalog.conditions(id)).map(({ name }) => name);
  }

  /** Lets virtual time pass until the work is done. */
  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work);
  }

  /** Lets time pass in small steps until the fact holds. */
  async until(isSo: () => boolean): Promise<void> {
    for (let round = 0; !isSo(); round += 1) {
      if (round > 1000) throw new Error('it never happened');
      await this.world.clock.advance(1);
    }
  }

  /** Begins something and waits until it has ended or is suspended. */
  async finish(
    begin: (controller: Controller) => Promise<OperationRecord>,
  ): Promise<OperationRecord> {
    const accepted = await this.run(begin(this.life.controller));
    this.#acknowledged.add(accepted.id);
    return this.run(this.life.ports.durable.settled(accepted.id, options));
  }

  async replicate(job = 'nightly'): Promise<OperationRecord> {
    return this.finish(async (controller) => {
      const [operation] = await controller.runJob(job, null, options);
      if (operation === undefined) throw new Error('no run was started');
      return operation;
    });
  }

  failover(
    point: 'latest' | string = 'latest',
    fence: 'none' | 'power-off' = 'none',
  ): Promise<OperationRecord> {
    return this.finish((controller) =>
      controller.failover('web-replica', failoverOrder(point, fence), options),
    );
  }

  undo(force = false): Promise<OperationRecord> {
    return this.finish((controller) => controller.undoFailover('web-replica', { force }, options));
  }

  /** The scheduler takes one look; then everything it began runs to its end. */
  async tick(): Promise<void> {
    await this.run(scheduleRuns(this.life.ports, options));
    await this.settleAll();
  }

  /** Everything open runs to an end or a suspension. */
  async settleAll(): Promise<void> {
    const { durable } = this.life.ports;
    const open = await durable.operations({ open: true, limit: 100 });
    for (const operation of open) {
      this.#acknowledged.add(operation.id);
      await this.run(durable.settled(operation.id, options));
    }
  }

  /** The sweeper goes everywhere it is needed. */
  async sweep(): Promise<void> {
    await this.run(sweepAll(this.life.ports, options));
    await this.settleAll();
  }

  /** One look of the server at its sources, which also keeps what guarded hosts hold back. */
  async watch(): Promise<void> {
    await this.run(watchSources(this.life.ports, { ...options, onReturned: () => undefined }));
  }

  /** What the separate observers of the invariants say; empty when all is well. Whoever is idle has been swept. */
  async violations(when: 'everyStep' | 'whenIdle'): Promise<readonly string[]> {
    if (when === 'whenIdle') await this.sweep();
    const view = await readCatalogue(this.life.ports);
    const acknowledged = [...this.#acknowledged];
    // Who could not be asked may serve, too: that is told, and then nobody promised that it does not.
    const isTold = ({ id }: Replica) => view.conditions.get(id)?.includes('unfenced-source');
    const told = view.replicas.filter(isTold).map(({ sourceVmId }) => sourceVmId);
    const acceptedDuplicates = new Set<string>(told);
    return this.#checkers[when](this.world, { ...view, acknowledged, acceptedDuplicates });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.life.view.isDead()) this.life.view.kill();
    if (this.#database.isOpen) this.#database.close();
    rmSync(this.#folder, { recursive: true });
  }
}

const SCHEMAS = [CATALOG_SCHEMA, JOURNAL_SCHEMA];
let empty: Uint8Array | undefined;

/** Made once: the crash matrix opens thousands of stages, and a sixth of its time went into making tables. */
function emptyDatabase(): Uint8Array {
  if (empty === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'stage-empty-'));
    const path = join(folder, 'understudy.db');
    openDatabase({ path, schemas: SCHEMAS }).close();
    empty = readFileSync(path);
    rmSync(folder, { recursive: true });
  }
  return empty;
}

export function failoverOrder(point: string, fence: 'none' | 'power-off' = 'none') {
  const selector =
    point === 'latest'
      ? ({ type: 'latest' } as const)
      : ({ type: 'reference', reference: point } as const);
  return { point: selector, reason: 'a test', fence, acceptDuplicate: false };
}
