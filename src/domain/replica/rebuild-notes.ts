/** What a rebuild says to people: what was found, what was assumed, what they may want to look at. Pure. */
import type { Instant } from '../instant.ts';
import { shellArgument } from '../shell-argument.ts';
import type { FoundFolder, FoundVm } from './rebuild.ts';
import type { Standing } from './rebuilt-failover.ts';
import type { Condition, Replica } from './replica.ts';

export function notesOf(
  found: FoundFolder,
  replica: Replica,
  { vm, standing }: { readonly vm: FoundVm | null; readonly standing: Standing | null },
): readonly string[] {
  const notes: string[] = [...standNotes(found, replica, vm, standing)];
  for (const { id, state } of found.branches) {
    if (state !== 'active' || id === replica.failover?.branchId) continue;
    notes.push(`Branch ${id} was in use by no VM of the replica: it is kept as an archive.`);
    notes.push(...fenceLeft(found, id));
  }
  for (const other of found.vms) {
    if (other === vm) continue;
    notes.push(`VM ${other.name} (${other.id}) uses its files, too, and was left alone.`);
  }
  if (vm === null && found.points.length > 0) {
    notes.push('Its VM is not defined at the target; the next run or failover defines it.');
  } else if (vm !== null && replica.failover === null && vm.power !== 'off') {
    notes.push(
      `Its VM ${vm.name} is ${vm.power} although it should be off: see \`understudy rescan\`.`,
    );
  }
  if (replica.archives.length > 0) {
    notes.push(
      `Its archived branches are kept for 30 days at least: see \`understudy archive list\`.`,
    );
  }
  if (found.about === null) {
    notes.push(
      'An older version made it: it does not say which job it had. A new job takes it over.',
    );
  } else if (replica.jobId === null) notes.push('It had no job. A new job takes it over.');
  return notes;
}

function standNotes(
  { home }: FoundFolder,
  { phase, failover, failback, name }: Replica,
  vm: FoundVm | null,
  standing: Standing | null,
): readonly string[] {
  if (failover === null) return [];
  const named = shellArgument(name);
  const power = vm?.power ?? 'off';
  if (failback === null) {
    const begun = `It is in Failover, ${power}, at restore point ${failover.pointId}.`;
    return [`${begun} ${fenceNote(failover, standing?.branch.about !== null)}`];
  }
  const to = `${failback.home.name} on ${home?.hostName ?? failback.home.hostId}`;
  if (phase === 'ReadyToSwitch') {
    const isOff = power === 'off';
    return [
      `Its failback to ${to} is ready to switch over when somebody says so. The next pass compares everything.`,
      ...(isOff ? [`Its VM is off: \`understudy switch-over ${named}\` goes on from there.`] : []),
    ];
  }
  const production = `production VM ${to} is ${home?.homePower ?? 'unknown'}`;
  if (standing?.stand?.type === 'switched' && standing.stand.isMerging) {
    return [
      `Its failback was being committed; ${production}. Finish it: \`understudy commit-failback ${named}\`.`,
    ];
  }
  const decide = `decide: \`understudy commit-failback ${named}\` or \`understudy undo-failback ${named}\``;
  const both = 'Its own VM runs, too: make sure that only one of them serves, and stop the other';
  return [
    `It had switched over; ${production}. ${power === 'off' || power === 'unknown' ? `Now ${decide}.` : `${both}, then ${decide}.`}`,
  ];
}

type Fenced = Pick<NonNullable<Replica['failover']>, 'fence' | 'fencedNics'>;

function fenceNote({ fence, fencedNics }: Fenced, isTold: boolean): string {
  if (!isTold)
    return 'Whether its source was fenced is not known: an undo leaves the source as it is.';
  const lifts: string[] = [];
  if (fencedNics === null || fencedNics.length > 0) lifts.push('connects the source again');
  if (fence === 'shutdown' || fence === 'power-off') lifts.push('starts the source again');
  return lifts.length === 0
    ? 'Nothing was done to its source.'
    : `An undo ${lifts.join(' and ')}, as it was fenced for this failover.`;
}

/** Of a failover that did not come to be. */
function fenceLeft({ branches }: FoundFolder, branchId: string): readonly string[] {
  const fenced = branches.find(({ id }) => id === branchId)?.about ?? null;
  if (fenced === null || fenced.failback !== null || fenced.failover.fence === 'none') return [];
  const { fence, fencedNics } = fenced.failover;
  const nics = fencedNics === null ? 'its NICs' : fencedNics.join(', ');
  const done = fence === 'nics' ? `disconnected (${nics})` : 'stopped';
  return [`Its source was ${done} for a failover that did not come to be: see whether it serves.`];
}

export function conditionsOf(
  { phase, failover }: Replica,
  vm: FoundVm | null,
  { homePower }: { readonly homePower: string },
  since: Instant,
): readonly Condition[] {
  if (failover === null) return [];
  if (phase === 'Failback') {
    const isServing = vm !== null && vm.power !== 'off' && vm.power !== 'unknown';
    return isServing && homePower !== 'off' && homePower !== 'absent' ? [both(since)] : [];
  }
  const isFenced = failover.fence !== 'none' || failover.isDuplicateAccepted;
  return failover.isConnected && !isFenced ? [unfenced(since)] : [];
}

function unfenced(since: Instant): Condition {
  const message =
    'The replica was found serving when the catalogue was rebuilt; whether its source is fenced is not known. ' +
    'Make sure that only one of them serves.';
  return { name: 'unfenced-source', message, since };
}

function both(since: Instant): Condition {
  const message =
    'The replica and production were both found running when the catalogue was rebuilt. Make sure that only one of them serves.';
  return { name: 'unfenced-source', message, since };
}
