/** One life of a controller in a simulated world: the production engine on a data folder that outlives it. */
import type { OperationEvent, OperationRecord } from '../../domain/operation/operation.ts';
import { createSqliteDurable } from '../../durable/sqlite/engine.ts';
import { JOURNAL_SCHEMA } from '../../durable/sqlite/schema.ts';
import { createController } from '../../engine/control/controller.ts';
import type { ControllerPorts } from '../../engine/control/controller-ports.ts';
import { operationDefinitions } from '../../engine/operations.ts';
import { runScheduler } from '../../engine/scheduler.ts';
import { runHostWatch } from '../../engine/watch-hosts.ts';
import { runSourceWatch } from '../../engine/watch-sources.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { Controller } from '../../ports/controller.ts';
import type { World } from '../../simulator/world.ts';
import { createSqliteCatalog } from '../../store/catalog.ts';
import { openDataFolder } from '../../store/database.ts';
import { CATALOG_SCHEMA } from '../../store/schema.ts';

/** What an observer is told, at the moment it is committed. */
export type Observer = {
  readonly onEvent: (event: OperationEvent, operation: OperationRecord) => void;
  readonly onChanges: (changes: readonly CatalogChange[]) => void;
  /** The controller died, by itself or at the named call. */
  readonly onDeath: (at: string) => void;
};

export type LifeSpec = {
  readonly world: World;
  readonly folder: string;
  readonly observer: Observer;
  /** Whether what a server does by itself is done: the production scheduler looks once a second, the watch on sources every five, that on hosts every ten. */
  readonly hasScheduler: boolean;
  /** For proofs that observers notice what is broken: lays something over the ports of the engine. */
  readonly sabotage?: (ports: ControllerPorts) => ControllerPorts;
};

export type Life = {
  readonly ports: ControllerPorts;
  readonly controller: Controller;
  /** Resolves when it is dead. */
  readonly died: Promise<void>;
  /** How many faults had struck when it began. */
  readonly faultsBefore: number;
  isDead(): boolean;
  /** Dies now, as by kill -9. */
  kill(): void;
};

/** Begins a life and continues what an earlier one left open. Throws `data-folder-in-use`. */
export async function beginLife(spec: LifeSpec): Promise<Life> {
  const { world, observer } = spec;
  const opened = openDataFolder({
    folder: spec.folder,
    schemas: [CATALOG_SCHEMA, JOURNAL_SCHEMA],
  });
  opened.database.exec('PRAGMA synchronous = OFF'); // only processes die here, never the machine
  const end = new AbortController();
  const died = Promise.withResolvers<void>();
  const view = world.connect({
    crashStyle: 'throw',
    onCrash: ({ operation }) => {
      end.abort();
      opened[Symbol.dispose]();
      died.resolve();
      observer.onDeath(operation);
    },
  });
  const ports = composePorts(spec, opened.database, view);
  for (const definition of operationDefinitions(ports, ports.durable)) {
    ports.durable.register(definition);
  }
  await ports.durable.resume();
  if (spec.hasScheduler) goOnByItself(ports, end.signal);
  return {
    ports,
    controller: createController(ports),
    died: died.promise,
    faultsBefore: world.faults.happened.length,
    isDead: view.isDead,
    kill: view.kill,
  };
}

function goOnByItself(ports: ControllerPorts, signal: AbortSignal): void {
  void runScheduler(ports, { signal, onError: ignore });
  void runSourceWatch(ports, { signal, onError: ignore, onReturned: ignore });
  void runHostWatch(ports, { signal, onError: ignore, onNews: ignore });
}

function composePorts(
  { world, observer, sabotage }: LifeSpec,
  database: ReturnType<typeof openDataFolder>['database'],
  { clock, ids, hosts, mover }: ReturnType<World['connect']>,
): ControllerPorts {
  const stored = createSqliteCatalog({ database });
  const catalog: ControllerPorts['catalog'] = {
    ...stored,
    apply: async (changes) => {
      await stored.apply(changes);
      observer.onChanges(changes);
    },
  };
  const durable = createSqliteDurable({
    database,
    applyChanges: (changes) => {
      stored.applyInTransaction(changes);
      observer.onChanges(changes);
    },
    clock,
    ids,
    onFault: ignore, // its data folder was closed beneath it: it is dead
    nextTurn: (flush) => holdingTime(world, flush),
  });
  durable.subscribe({ onEvent: observer.onEvent });
  const ports = { catalog, hosts, mover, clock, ids, durable, misses: new Map() };
  return sabotage?.(ports) ?? ports;
}

/** A commit takes no virtual time, though it takes a turn of the event loop. */
function holdingTime(world: World, flush: () => void): void {
  const hold = world.clock.hold();
  setImmediate(() => {
    flush();
    hold[Symbol.dispose]();
  });
}

/** The scheduler tries again with its next look; what it met is in the history of the operations. */
function ignore(): void {}
