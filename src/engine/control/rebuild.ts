/**
 * Rebuild: the catalogue from the replica folders alone, when the controller's data is gone. Everything is read first,
 * then decided, then written in one transaction: interrupted, nothing has happened, and repeated, everything is known.
 */
import { asUnderstudyError } from '../../domain/error.ts';
import type { Host } from '../../domain/host/host.ts';
import { type HostId, operationId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import { type ReplicaAbout, readAbout } from '../../domain/replica/about.ts';
import {
  type FoundFolder,
  type Rebuilt,
  rebuildDoubt,
  rebuildRefusal,
  rebuiltReplica,
} from '../../domain/replica/rebuild.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { RebuildOrder, RebuildReport, RebuiltFolder } from '../../ports/rebuild-report.ts';
import type { FoundReplica } from '../../ports/replica-store.ts';
import { layersTemporary } from '../temporaries.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { endUnknownFreezes } from './end-unknown-freezes.ts';
import { findFolders, type HostFolders } from './found-folders.ts';
import { hostThatWas, type KnownHosts } from './found-home.ts';
import { createRebuiltJobs, type RebuiltJobs } from './rebuilt-jobs.ts';
import { findHost } from './references.ts';

export async function rebuild(
  ports: ControllerPorts,
  order: RebuildOrder,
  options: CommandOptions,
): Promise<RebuildReport> {
  const all = (await ports.catalog.hosts()).map(({ value }) => value);
  const asked = order.hosts === null ? all : await hostsNamed(ports, order.hosts);
  const fallback =
    order.sourceHost === null ? null : (await findHost(ports.catalog, order.sourceHost)).value;
  const unreachable: RebuildReport['unreachable'][number][] = [];
  const found: HostFolders[] = [];
  const known = { hosts: all, fallback };
  const how = { ...options, repairsAt: repairsAt(ports, order), known };
  for (const host of asked) {
    try {
      found.push(await findFolders(ports, host, how));
    } catch (error) {
      if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
      unreachable.push({ hostName: host.name, because: asUnderstudyError(error).message });
    }
  }
  const rebuilding: Rebuilding = {
    hosts: all,
    fallback,
    now: ports.clock.now(),
    known: await knownReplicas(ports),
    jobs: await createRebuiltJobs(ports),
  };
  const decided = found.flatMap(({ host, folders }) =>
    folders.map((folder) => decide(rebuilding, host, folder)),
  );
  const changes = [...rebuilding.jobs.changes(), ...decided.flatMap(({ changes }) => changes)];
  if (!order.isDryRun && changes.length > 0) {
    const found = decided.flatMap(({ rebuilt }) => rebuilt ?? []);
    const left = await endUnknownFreezes(ports, found, rebuilding.now, options);
    await ports.catalog.apply([...changes, ...left]);
  }
  return { folders: decided.map(({ told }) => told), unreachable, isDryRun: order.isDryRun };
}

/**
 * The epoch of a record that is made anew: the count is lost with the old one, and hosts refuse whatever is below what they have
 * seen. Seconds are far above any count of takeovers. Null: nothing is to be made anew.
 */
function repairsAt({ clock }: ControllerPorts, { repairs, isDryRun }: RebuildOrder): number | null {
  return repairs && !isDryRun ? Math.floor(clock.now() / 1000) : null;
}

async function hostsNamed(
  ports: ControllerPorts,
  references: readonly Reference[],
): Promise<readonly Host[]> {
  const found = await Promise.all(references.map((name) => findHost(ports.catalog, name)));
  return [...new Map(found.map(({ value }) => [value.id, value])).values()];
}

type Rebuilding = KnownHosts & {
  readonly now: Instant;
  /** Replica ids in the catalogue, with whether they were removed on purpose. */
  readonly known: ReadonlyMap<string, boolean>;
  readonly jobs: RebuiltJobs;
};

async function knownReplicas({ catalog }: ControllerPorts): Promise<ReadonlyMap<string, boolean>> {
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  return new Map(replicas.map(({ id, phase }) => [id, phase === 'Removed']));
}

type Decided = {
  readonly told: RebuiltFolder;
  readonly rebuilt: Replica | null;
  readonly changes: readonly CatalogChange[];
};

function decide(
  rebuilding: Rebuilding,
  target: Host,
  { replica, folder, because }: HostFolders['folders'][number],
): Decided {
  const { now, known, jobs } = rebuilding;
  const about = readAbout(replica.about);
  const told = (outcome: RebuiltFolder['outcome'], ...notes: readonly string[]): Decided => ({
    told: { ...plain(replica, target, folder), outcome, notes },
    rebuilt: null,
    changes: [],
  });
  const wasRemoved = known.get(replica.replicaId);
  if (wasRemoved === true) {
    return told(
      'skipped',
      'It was removed from the configuration, and its files were left on purpose.',
    );
  }
  if (wasRemoved === false) return told('known');
  if (folder === null) return told('skipped', because ?? 'Its folder cannot be read.');
  const refused = rebuildRefusal(folder);
  if (refused !== null) return told('skipped', `There is nothing to rebuild: ${refused}.`);
  const doubt = rebuildDoubt(folder);
  if (doubt !== null) return told('skipped', `It cannot be said how far it is: ${doubt}.`);
  const source = sourceOf(rebuilding, about) ?? rebuilding.fallback;
  if (source === null) return told('skipped', sourceMissing(about));
  const sourceVmId = about?.sourceVmId ?? folder.points.at(-1)?.vm.id;
  const job =
    about === null || about.job === null || sourceVmId === undefined
      ? null
      : jobs.join(about.job, {
          source,
          target,
          vmId: sourceVmId,
          vmName: about.sourceVmName,
          answersAt: about.answersAt,
          now,
        });
  const place = { sourceHostId: source.id, targetHostId: target.id, jobId: job?.id ?? null, now };
  const rebuilt = rebuiltReplica(folder, place);
  const { phase } = rebuilt.replica;
  const jobName = job?.name ?? null;
  const notes = [...rebuilt.notes, ...(job === null ? [] : [job.note])];
  return {
    told: { ...plain(replica, target, folder), outcome: 'rebuilt', phase, jobName, notes },
    rebuilt: rebuilt.replica,
    changes: changesOf(rebuilt, folder.home?.hostId ?? source.id, now),
  };
}

function plain(
  { replicaId, name }: FoundReplica,
  target: Host,
  folder: FoundFolder | null,
): Omit<RebuiltFolder, 'outcome' | 'notes'> {
  const pointCount = folder?.points.length ?? 0;
  return { replicaId, name, targetHostName: target.name, phase: null, jobName: null, pointCount };
}

function sourceOf(known: KnownHosts, about: ReplicaAbout | null): Host | null {
  if (about === null) return null;
  return hostThatWas(known, { name: about.sourceHostName, address: about.sourceHostAddress });
}

function sourceMissing(about: ReplicaAbout | null): string {
  if (about === null) {
    return 'It does not say which host its source is on: name it with --source-host.';
  }
  const { sourceHostName, sourceHostAddress } = about;
  return (
    `Its source host ${sourceHostName} (${sourceHostAddress}) is not known: add it with ` +
    '`understudy host add`, or name another one with --source-host.'
  );
}

function changesOf(
  { replica, points, conditions, leftovers }: Rebuilt,
  homes: HostId,
  now: Instant,
): readonly CatalogChange[] {
  return [
    { type: 'replica-saved', replica, expectedVersion: null },
    ...points.map((point) => ({ type: 'point-saved', point }) as const),
    ...conditions.map(
      (condition) => ({ type: 'condition-raised', replicaId: replica.id, condition }) as const,
    ),
    ...leftovers.map((id) => {
      // Nobody's VM is powered off for it.
      const home = { hostId: homes, vmId: null, name: '', kind: 'original' } as const;
      const temporary = layersTemporary(operationId(`op-${id}`), replica, { id, home }, now);
      return { type: 'temporary-registered', temporary } as const;
    }),
  ];
}
