/**
 * What a story's golden log is made of: one line per noteworthy thing, in virtual time.
 *
 *   0:10:00  > run web                                   what somebody does
 *   0:10:00  #2 replicate web-replica: started           how an operation goes
 *   0:10:02  web-replica: P2, vda incremental 64.0 KiB   what is recorded
 *   0:12:00  web on production: off                      what the world looks like
 */
import { formatBytes } from '../../domain/bytes.ts';
import type { FailbackRecord } from '../../domain/failover/failback.ts';
import type { OperationEvent, OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { World } from '../../simulator/world.ts';
import { createEventNews } from './event-news.ts';
import { worldFacts } from './facts.ts';
import type { Observer } from './life.ts';
import { createNames, type Names } from './names.ts';

export type Chronicle = Observer & {
  readonly names: Names;
  readonly lines: readonly string[];
  /** From here on it listens: how a site comes about is not part of a story. */
  watch(world: World): void;
  say(text: string): void;
  /** Keeps a place for a line whose words are known only after what comes of it; null: nothing is to be said there. */
  reserve(): (text: string | null) => void;
  /** Tells what has changed in the world since the last look. */
  look(): void;
};

export function createChronicle(): Chronicle {
  const lines: string[] = [];
  const replicas = new Map<string, Replica>();
  const conditions = new Set<string>();
  const points = new Map<string, RestorePoint>();
  const eventNews = createEventNews();
  let facts = new Map<string, string>();
  let world: World | null = null;
  let names: Names | null = null;

  const required = <T>(value: T | null): T => {
    if (value === null) throw new Error('watch() comes first');
    return value;
  };
  const worded = (text: string) => {
    const seconds = Math.floor(required(world).clock.monotonicMs() / 1000);
    const oneLine = required(names)
      .in(text)
      .replace(/\s*\n\s*/g, ' ');
    return `${formatElapsed(seconds)}  ${oneLine}`;
  };
  const say = (text: string) => void lines.push(worded(text));

  function look(): void {
    const now = worldFacts(required(world));
    for (const [what, fact] of now) if (facts.get(what) !== fact) say(`${what}: ${fact}`);
    for (const what of facts.keys()) if (!now.has(what)) say(`${what}: gone`);
    facts = now;
  }

  function onEvent(event: OperationEvent, operation: OperationRecord): void {
    look();
    const text = eventNews(event, operation);
    if (text === null) return;
    const subject = replicas.get(operation.subject)?.name ?? operation.subject;
    say(`${operation.id} ${operation.kind} ${subject}: ${text}`);
  }

  function onChange(change: CatalogChange): void {
    if (change.type === 'replica-saved') tellReplica(change.replica);
    else if (change.type === 'point-saved') tellPoint(change.point);
    else if (change.type === 'point-removed') {
      say(`${nameOf(change.replicaId)}: ${change.pointId} is retired`);
    } else if (change.type === 'condition-raised') {
      const { name, message } = change.condition;
      const known = `${change.replicaId}/${name}`;
      if (!conditions.has(known)) say(`${nameOf(change.replicaId)}: ! ${name}: ${message}`);
      conditions.add(known);
    } else if (change.type === 'condition-cleared') {
      const known = `${change.replicaId}/${change.name}`;
      if (conditions.delete(known)) say(`${nameOf(change.replicaId)}: no longer ${change.name}`);
    }
  }

  const nameOf = (id: string) => replicas.get(id)?.name ?? id;

  function tellReplica(replica: Replica): void {
    const before = replicas.get(replica.id);
    replicas.set(replica.id, replica);
    required(names).give(replica.id, replica.name);
    for (const text of replicaNews(before, replica)) say(`${replica.name}: ${text}`);
  }

  function tellPoint(point: RestorePoint): void {
    const before = points.get(point.id);
    points.set(point.id, point);
    const name = nameOf(point.replicaId);
    if (before === undefined) say(`${name}: ${point.id}, ${pointNews(point)}`);
    else if (before.isPinned !== point.isPinned) {
      say(`${name}: ${point.id} is ${point.isPinned ? 'pinned' : 'no longer pinned'}`);
    }
  }

  return {
    lines,
    get names() {
      return required(names);
    },
    watch: (watched) => {
      world = watched;
      names = createNames(watched);
      facts = worldFacts(watched);
    },
    say,
    reserve: () => {
      const at = lines.length;
      return (text) => {
        if (text !== null) lines.splice(at, 0, worded(text));
      };
    },
    look,
    onEvent: (event, operation) => {
      if (world !== null) onEvent(event, operation);
    },
    onChanges: (changes) => {
      if (world === null) return;
      for (const change of changes) onChange(change);
    },
    onDeath: (at) => {
      look();
      say(at === 'kill' ? 'controller: dead' : `controller: dead at ${at}`);
    },
  };
}

function replicaNews(before: Replica | undefined, now: Replica): readonly string[] {
  const news: string[] = [];
  if (before?.phase !== now.phase) news.push(phaseNews(before, now));
  const { failover } = now;
  if (failover !== null && failover.pointId !== before?.failover?.pointId) {
    const connection = failover.isConnected ? 'connected' : 'disconnected';
    news.push(`on ${failover.pointId}, ${connection}, because ${failover.connectionBecause}`);
  }
  for (const time of ['runningAfterMs', 'answeringAfterMs'] as const) {
    const ms = failover?.[time] ?? null;
    const word = time === 'runningAfterMs' ? 'running' : 'answering';
    if (ms === null || before?.failover?.[time] === ms) continue;
    const by = time === 'runningAfterMs' ? null : failover?.answeredBy;
    const shown = by == null || by === 'agent' ? '' : ` (${by})`;
    news.push(`${word} after ${(ms / 1000).toFixed(1)} s${shown}`);
  }
  news.push(...failbackNews(before?.failback ?? null, now.failback));
  const kept = (replica: Replica | undefined) => replica?.archives.length ?? 0;
  if (kept(before) < kept(now)) news.push(`the branch ${now.archives.at(-1)?.branchId} is kept`);
  if (kept(before) > kept(now)) news.push('a kept branch has expired');
  return news;
}

function failbackNews(
  before: FailbackRecord | null,
  now: FailbackRecord | null,
): readonly string[] {
  if (now === null) return [];
  const news: string[] = [];
  if (now.passes !== (before?.passes ?? 0)) {
    const { kind, name, hostId } = now.home;
    const home = before === null ? ` to ${kind} VM ${name} on ${hostId}` : '';
    news.push(`pass ${now.passes} has moved ${formatBytes(now.syncedBytes)}${home}`);
  }
  for (const time of ['runningAfterMs', 'answeringAfterMs'] as const) {
    const ms = now.switched?.[time] ?? null;
    const word = time === 'runningAfterMs' ? 'running' : 'answering';
    if (ms === null || before?.switched?.[time] === ms) continue;
    news.push(`production is ${word} after ${(ms / 1000).toFixed(1)} s`);
  }
  return news;
}

function phaseNews(before: Replica | undefined, { phase }: Replica): string {
  return before === undefined ? phase : `${before.phase} → ${phase}`;
}

function pointNews({ disks, consistency }: RestorePoint): string {
  const told = disks.map(({ key, transfer, because, sentBytes }) => {
    const why = transfer === 'incremental' ? '' : ` because ${because}`;
    return `${key} ${transfer} ${formatBytes(sentBytes)}${why}`;
  });
  return `${consistency === 'application' ? 'quiesced, ' : ''}${told.join('; ')}`;
}

function formatElapsed(seconds: number): string {
  const two = (value: number) => String(Math.floor(value) % 60).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(seconds / 60)}:${two(seconds)}`.padStart(9);
}
