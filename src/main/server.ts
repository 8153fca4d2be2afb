/**
 * The server: everything composed, one process, one data folder.
 *
 *   <data>/understudy.db     catalogue and journal
 *   <data>/token             the key to the API, mode 0600, made once
 *   <data>/server.json       where the running server listens, for the program
 *   <data>/log.jsonl         one line per event, the same as in every history
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ApiLogger, createApi } from '../api/create-api.ts';
import { formatServerAddress, parseListenAddress } from '../api/listen-address.ts';
import { UnderstudyError } from '../domain/error.ts';
import { instant } from '../domain/instant.ts';
import { formatEvent } from '../domain/operation/format-event.ts';
import { createSqliteDurable, type SqliteDurable } from '../durable/sqlite/engine.ts';
import { JOURNAL_SCHEMA } from '../durable/sqlite/schema.ts';
import { createController } from '../engine/control/controller.ts';
import type { ControllerPorts } from '../engine/control/controller-ports.ts';
import { operationDefinitions } from '../engine/operations.ts';
import { runScheduler } from '../engine/scheduler.ts';
import { runHostWatch } from '../engine/watch-hosts.ts';
import { runSourceWatch } from '../engine/watch-sources.ts';
import { createMover } from '../host/mover/mover.ts';
import { createSqliteCatalog } from '../store/catalog.ts';
import { openDataFolder } from '../store/database.ts';
import { storeError } from '../store/errors.ts';
import { CATALOG_SCHEMA } from '../store/schema.ts';
import { systemClock } from '../system/clock.ts';
import { systemIds } from '../system/ids.ts';
import { jsonLogger, type Logger, logFile } from '../system/logger.ts';
import { systemProcesses } from '../system/processes.ts';
import { createHostDirectory } from './host-directory.ts';

export type ServerOptions = {
  readonly dataFolder: string;
  /** `127.0.0.1:PORT` or `unix:PATH`. */
  readonly listen: string;
  /** Short-lived sockets; must be a short path that only we can write to. */
  readonly runtimeFolder: string;
  readonly version: string;
  /** The journal cannot be written: the process must end; a new start reads the truth. */
  readonly onFault: (error: unknown) => void;
};

export type RunningServer = {
  /** As clients write it. */
  readonly address: string;
  /** Stops taking steps and requests; what was begun continues at the next start. Idempotent. */
  close(): Promise<void>;
};

/** Throws what keeps it from starting, e.g. `data-folder-in-use`, `data-folder-full`. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  return openServer(options).catch((error: unknown) => {
    throw storeError(options.dataFolder, error);
  });
}

/** A start that fails closes what was opened, in the reverse order, as an end does. */
async function openServer(options: ServerOptions): Promise<RunningServer> {
  const { dataFolder, version } = options;
  const listen = parseListenAddress(options.listen);
  await using opened = new AsyncDisposableStack();
  const schemas = [CATALOG_SCHEMA, JOURNAL_SCHEMA];
  const logger = openLog(join(dataFolder, 'log.jsonl'), dataFolder, opened);
  const { database } = opened.use(openDataFolder({ folder: dataFolder, schemas }));
  const ports = composePorts(database, options, logger);
  opened.defer(() => ports.durable.close());
  await ports.durable.resume();
  opened.use(goOnInBackground(ports, logger));
  const api = createApi({
    controller: createController(ports),
    clock: ports.clock,
    token: tokenOf(dataFolder),
    logger: apiLogger(logger),
    version,
  });
  opened.defer(() => api.close());
  const address = formatServerAddress(await api.listen(listen));
  const sign = join(dataFolder, 'server.json');
  writeAtomically(sign, JSON.stringify({ address, pid: process.pid }));
  opened.defer(() => rmSync(sign, { force: true }));
  const running = opened.move();
  return { address, close: () => running.disposeAsync() };
}

function openLog(path: string, dataFolder: string, opened: AsyncDisposableStack): Logger {
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  const stream = logFile(path);
  opened.defer(() => new Promise<void>((done) => stream.end(done)));
  return jsonLogger({ stream, clock: systemClock(), levelMin: 'info' });
}

/** What runs by itself for as long as the server does. */
function goOnInBackground(ports: ServerPorts, logger: Logger): AsyncDisposable {
  const stop = new AbortController();
  const { signal } = stop;
  const onError = (error: unknown) =>
    logger.log('error', 'the scheduler stumbled', { reason: String(error) });
  const ended = Promise.all([
    warmUp(ports, signal),
    keepHistoryBounded(ports, signal),
    runScheduler(ports, { signal, onError }),
    runSourceWatch(ports, {
      signal,
      onError: (error) =>
        logger.log('error', 'the watch on sources stumbled', { reason: String(error) }),
      onReturned: (message) => logger.log('warning', message, {}),
    }),
    runHostWatch(ports, {
      signal,
      onError: (error) =>
        logger.log('error', 'the watch on hosts stumbled', { reason: String(error) }),
      onNews: (message) => logger.log('warning', message, {}),
    }),
  ]);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

/**
 * Asks every host once, so that what takes seconds the first time (libvirt's look at QEMU, the proof of acceleration)
 * is not paid by a failover. A host that does not answer now is asked again when it is needed.
 */
async function warmUp({ catalog, hosts }: ControllerPorts, signal: AbortSignal): Promise<void> {
  for (const { value } of await catalog.hosts()) {
    try {
      const { hypervisor } = await hosts.ports(value.id);
      await hypervisor.describe({ signal });
    } catch {
      // Away, or removed meanwhile: it is asked again when somebody needs it, who is then told.
    }
  }
}

const HISTORY_MS = 90 * 24 * 3600 * 1000;
const HISTORY_KEPT = 1000;
const PRUNE_EVERY_MS = 6 * 3600 * 1000;

/** Forgets ended operations of long ago; ends with the server. */
async function keepHistoryBounded(
  { durable, clock }: ServerPorts,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const endedBefore = instant(clock.now() - HISTORY_MS);
    await durable.prune({ endedBefore, keep: HISTORY_KEPT }).catch(() => undefined); // a journal that cannot be written tells so itself
    await clock.sleep(PRUNE_EVERY_MS, { signal }).catch(() => undefined);
  }
}

type ServerPorts = ControllerPorts & { readonly durable: SqliteDurable };

type Database = ReturnType<typeof openDataFolder>['database'];

function composePorts(database: Database, options: ServerOptions, logger: Logger): ServerPorts {
  const clock = systemClock();
  const ids = systemIds();
  const processes = systemProcesses();
  const catalog = createSqliteCatalog({ database });
  const durable = createSqliteDurable({
    database,
    applyChanges: (changes) => catalog.applyInTransaction(changes),
    clock,
    ids,
    onFault: (error) => {
      logger.log('error', 'the journal cannot be written', { reason: String(error) });
      options.onFault(error);
    },
  });
  const { runtimeFolder } = options;
  makeOwnFolder(runtimeFolder);
  const mover = createMover({ clock });
  const hosts = createHostDirectory(catalog, { processes, clock, ids, mover, runtimeFolder });
  const ports = { catalog, hosts, mover, clock, ids, durable, misses: new Map() };
  for (const definition of operationDefinitions(ports, durable)) durable.register(definition);
  durable.subscribe({
    onEvent: (event, operation) => logger.log('info', formatEvent(event, operation), { ...event }),
  });
  return ports;
}

/** It may lie in a folder where others can write: one that somebody else made first must not be used. */
function makeOwnFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o711 });
  const { uid, mode } = lstatSync(path);
  if (uid === process.getuid?.() && (mode & 0o022) === 0) return;
  const fix = `Remove ${path}, or name another folder in UNDERSTUDY_RUNTIME.`;
  const reason = 'others own it or can write to it';
  throw new UnderstudyError('access-denied', { path, who: 'the server', reason, fix });
}

function apiLogger(logger: Logger): ApiLogger {
  return {
    error: (message, fields) => logger.log('error', message, { details: JSON.stringify(fields) }),
  };
}

/** Made at the first start; only the owner of the data folder can read it. */
function tokenOf(dataFolder: string): string {
  const path = join(dataFolder, 'token');
  if (!existsSync(path)) writeAtomically(path, `${randomBytes(32).toString('base64url')}\n`);
  chmodSync(path, 0o600);
  return readFileSync(path, 'utf8').trim();
}

function writeAtomically(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
