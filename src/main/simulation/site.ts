/**
 * A simulated site with the production engine in it: hosts and VMs made of air, one data folder, and controllers that
 * live and die on it. Stories and random runs are played here; separate observers watch the invariants.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Host } from '../../domain/host/host.ts';
import { type HostId, hostId } from '../../domain/ids.ts';
import { hasEnded, type OperationRecord } from '../../domain/operation/operation.ts';
import type { ConditionName, FormerSource, Replica } from '../../domain/replica/replica.ts';
import { flagIn } from '../../engine/input.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { CommandOptions, Controller } from '../../ports/controller.ts';
import { readCatalogue } from '../../simulator/catalogue-view.ts';
import { type CatalogueView, createCheckers } from '../../simulator/checkers.ts';
import { createWorld, type World } from '../../simulator/world.ts';
import { beginLife, type Life, type LifeSpec, type Observer } from './life.ts';

export type SiteSpec = Pick<LifeSpec, 'hasScheduler' | 'sabotage'> & {
  readonly seed: number;
  readonly hosts: readonly string[];
  readonly observer: Observer;
  /** False: the world remembers nothing for `violations`, which then cannot be asked for. */
  readonly isObserved?: boolean;
};

/** What was asked of a controller: it began these, refused with an error, or did not answer: it died, or a host that it asks hangs. */
export type Answer =
  | { readonly type: 'begun'; readonly operations: readonly OperationRecord[] }
  | { readonly type: 'refused'; readonly error: unknown }
  | { readonly type: 'silent' };

export const BY_HAND: CommandOptions = { signal: new AbortController().signal, seed: null };

/** Longer than any deadline of the product: what takes longer hangs. */
const PATIENCE_MS = 90 * 60_000;

const EXCUSES: readonly ConditionName[] = ['unfenced-source', 'cleanup-pending'];

export class Site implements AsyncDisposable {
  readonly world: World;
  readonly folder = mkdtempSync(join(tmpdir(), 'understudy-simulation-'));
  life: Life | null = null;
  /** Source VMs that a person let run beside their replica; nobody has to keep them apart any more. */
  readonly acceptedDuplicates = new Set<string>();
  /** VMs and identities of which it was told once that two may serve. */
  readonly #told = new Set<string>();
  readonly #spec: SiteSpec;
  readonly #checkers = createCheckers();
  readonly #acknowledged = new Set<OperationRecord['id']>();

  private constructor(spec: SiteSpec) {
    this.#spec = spec;
    const { seed, isObserved = true } = spec;
    this.world = createWorld({ seed, mode: 'manual', isObserved });
    for (const name of spec.hosts) this.world.addHost({ id: hostId(name) });
  }

  /** With a controller that knows all hosts. */
  static async open(spec: SiteSpec): Promise<Site> {
    const site = new Site(spec);
    const life = await site.startController();
    await life.ports.catalog.apply(spec.hosts.map((name) => site.#hostSaved(hostId(name))));
    return site;
  }

  #hostSaved(id: HostId): CatalogChange {
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
    return { type: 'host-saved', host, expectedVersion: null };
  }

  /** Throws `data-folder-in-use` while another controller lives. */
  async startController(): Promise<Life> {
    const { world, folder } = this;
    const { observer, hasScheduler, sabotage } = this.#spec;
    const spec = { world, folder, observer, hasScheduler };
    const life = await beginLife(sabotage === undefined ? spec : { ...spec, sabotage });
    this.life = life;
    return life;
  }

  get isControlled(): boolean {
    return this.life !== null && !this.life.isDead();
  }

  /** Throws when no controller lives. */
  get living(): Life {
    if (this.life === null || this.life.isDead()) throw new Error('no controller lives');
    return this.life;
  }

  /** Asks for something and lets time pass until it is acknowledged or refused, or whoever asked gives up: a host may hang. */
  async ask(
    begin: (controller: Controller) => Promise<OperationRecord | readonly OperationRecord[]>,
  ): Promise<Answer> {
    const { controller, died, isDead } = this.living;
    const work = begin(controller).then(
      (begun): Answer => ({ type: 'begun', operations: [begun].flat() }),
      (error: unknown): Answer => (isDead() ? { type: 'silent' } : { type: 'refused', error }),
    );
    const patience = new AbortController();
    const tired = this.world.clock.sleep(PATIENCE_MS, { signal: patience.signal });
    const silent = Promise.race([died, tired.catch(() => null)]);
    const unheard = silent.then((): Answer => ({ type: 'silent' }));
    const answer = await this.world.clock.run(Promise.race([work, unheard]));
    patience.abort();
    if (answer.type === 'begun') {
      for (const { id } of answer.operations) this.#acknowledged.add(id);
    }
    return answer;
  }

  /** Lets time pass until these have ended or are suspended, the controller dies, or nothing comes of it for hours. */
  async settle(operations: readonly OperationRecord['id'][]): Promise<void> {
    const { ports, died } = this.living;
    const patience = new AbortController();
    const options = { signal: patience.signal };
    const all = operations.map((id) => ports.durable.settled(id, options).catch(() => null));
    const tired = this.world.clock.sleep(PATIENCE_MS, options).catch(() => null);
    await this.world.clock.run(Promise.race([Promise.all(all), died, tired]));
    patience.abort();
  }

  /** Everything that is open now. */
  async settleAll(): Promise<void> {
    await this.settle((await this.openOperations()).map(({ id }) => id));
  }

  async openOperations(): Promise<readonly OperationRecord[]> {
    const { durable } = this.living.ports;
    const open = await durable.operations({ open: true, limit: 1000 });
    return open.filter(({ state }) => !hasEnded(state));
  }

  /** Lets time pass until the work is done. */
  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work);
  }

  /** The replica of this name, or of the VM of this name the one that was made last. Throws when there is none. */
  async replicaOf(name: string): Promise<Replica> {
    const all = (await this.living.ports.catalog.replicas()).map(({ value }) => value);
    const named = all.find((replica) => replica.name === name);
    const found = named ?? all.filter(({ sourceVmName }) => sourceVmName === name).at(-1);
    if (found === undefined) throw new Error(`VM ${name} is not protected`);
    return found;
  }

  /** What the observers of the invariants say; empty when all is well. Asks the catalogue of a living controller. */
  async violations(when: 'everyStep' | 'whenIdle'): Promise<readonly string[]> {
    if (!this.world.isObserved) throw new Error('nobody observes this world');
    return this.#checkers[when](this.world, await this.#catalogueView());
  }

  async #catalogueView(): Promise<CatalogueView> {
    const view = await readCatalogue(this.living.ports);
    const tolerated = this.#tolerated(view);
    return {
      ...view,
      acknowledged: [...this.#acknowledged],
      acceptedDuplicates: new Set([...this.acceptedDuplicates, ...tolerated]),
    };
  }

  /**
   * Nobody could be asked, or a person agreed: that two may serve at once is recorded, and shown, or will be in a moment. Where the
   * replica that said so is removed, it is the other one that goes on telling, of its source that is back.
   */
  #tolerated({
    replicas,
    conditions,
    operations,
  }: Pick<CatalogueView, 'replicas' | 'conditions' | 'operations'>): readonly string[] {
    const isAgreeing = ({ kind, state, input }: OperationRecord) =>
      kind === 'unfence-source' && !hasEnded(state) && flagIn(input, 'acceptsDuplicate');
    const agreeing = new Set(operations.filter(isAgreeing).map(({ subject }) => subject));
    const has = ({ id }: Replica, names: readonly ConditionName[]) =>
      conditions.get(id)?.some((name) => names.includes(name)) === true;
    const told = replicas.filter((one) => agreeing.has(one.id) || has(one, EXCUSES));
    for (const name of told.flatMap((one) => this.#namesOfSource(one))) this.#told.add(name);
    const returned = replicas.filter((one) => has(one, ['source-returned']));
    const formers = replicas.filter((one) => has(one, ['former-source-unfenced']));
    return [
      ...[...told, ...returned].flatMap((one) => this.#namesOfSource(one)),
      ...formers.flatMap(({ formerSource }) =>
        formerSource === null ? [] : this.#namesOf(formerSource),
      ),
    ].filter((name) => this.#told.has(name));
  }

  #namesOfSource({ sourceHostId: hostId, sourceVmId: vmId }: Replica): readonly string[] {
    return this.#namesOf({ hostId, vmId });
  }

  #namesOf({ hostId, vmId }: Pick<FormerSource, 'hostId' | 'vmId'>): readonly string[] {
    const vm = this.world.host(hostId).vms.get(vmId);
    return vm === undefined ? [vmId] : [vmId, vm.state.identity];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.life?.kill();
    await this.world.clock.settle();
    rmSync(this.folder, { recursive: true });
  }
}
