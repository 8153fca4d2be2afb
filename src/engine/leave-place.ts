/**
 * What a failed operation had made room with comes back on its way back; hours may have passed. Where another replica of the VM has
 * taken the place meanwhile, it stays as it is. That is told in the history, and as a condition until the source serves again.
 */
import { named, type SiblingAtFailover } from '../domain/failover/connection.ts';
import { addFence, type Fencing } from '../domain/failover/fencing.ts';
import { sourceOf, type WatchedVm } from '../domain/failover/watched-source.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import { isServing } from '../domain/vm/vm.ts';
import type { CatalogChange, Versioned } from '../ports/catalog.ts';
import type { UndoAttempt } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { savedReplica } from './replica-facts.ts';
import { lookAtSiblings } from './siblings.ts';
import { lookAtSource, type SourceSeen } from './source-fence.ts';
import { tellLeftFence } from './tell-folder.ts';
import { orLeaveToSweeper, UNDO_PATIENCE_MS } from './temporaries.ts';

type Ports = Pick<EnginePorts, 'catalog' | 'hosts' | 'clock'>;

/** Whether the VM that was shut down stays off. */
export async function leavesOff(
  ports: Ports,
  replica: Replica,
  vm: WatchedVm,
  undoing: UndoAttempt,
): Promise<boolean> {
  const left = await leftTo(ports, replica, vm, undoing);
  if (left === null) return false;
  if (isLeft(left.seen, 'off')) {
    await tellLeft(ports, replica, { ...left, vm, how: 'off', remembered: null }, undoing);
  }
  return true;
}

/** Whether the source stays fenced. What was disconnected is remembered, so that the replica's next way back connects it. */
export async function leavesFenced(
  ports: Ports,
  replica: Replica,
  fencing: Fencing,
  undoing: UndoAttempt,
): Promise<boolean> {
  const vm = sourceOf(replica);
  const left = await leftTo(ports, replica, vm, undoing);
  if (left === null) return false;
  const how = fencing.fence === 'nics' ? 'without network' : 'off';
  if (!isLeft(left.seen, how)) return true;
  const remembered = await rememberedFence(ports, replica, fencing);
  await tellLeft(ports, replica, { ...left, vm, how, remembered }, undoing);
  if (remembered !== null) await tellTarget(ports, remembered.value, undoing);
  return true;
}

type How = 'off' | 'without network';

/** Not one that had not followed yet, or is gone. */
function isLeft(seen: SourceSeen, how: How): boolean {
  if (how === 'off') return seen.power === 'off' || seen.power === 'unknown';
  return !isServing(seen) && seen.power !== 'absent';
}

type Left = { readonly to: SiblingAtFailover; readonly seen: SourceSeen };

/** Null: to nobody. */
async function leftTo(
  ports: Ports,
  replica: Replica,
  { hostId, vmId }: WatchedVm,
  { signal }: UndoAttempt,
): Promise<Left | null> {
  const to = (await lookAtSiblings(ports, replica, { signal })).find(isServing);
  if (to === undefined) return null;
  const { hypervisor } = await ports.hosts.ports(hostId);
  const asked = { hypervisor, clock: ports.clock };
  return { to, seen: await lookAtSource(asked, { sourceVmId: vmId }, { signal }) };
}

async function rememberedFence(
  { catalog }: Ports,
  { id }: Replica,
  fencing: Fencing,
): Promise<Versioned<Replica> | null> {
  const current = await catalog.replica(id);
  if (current === null) return null;
  const { value, version } = current;
  const { failover, leftFencedNics } = value;
  if (failover !== null) {
    const fenced = { ...failover, ...addFence(failover, fencing) };
    return { value: { ...value, failover: fenced }, version };
  }
  if (fencing.fence !== 'nics') return null;
  const { fencedNics } = addFence({ fence: 'none', fencedNics: leftFencedNics }, fencing);
  return { value: { ...value, leftFencedNics: fencedNics }, version };
}

/** A replica that stands in has told it already, with its branch. */
async function tellTarget(
  { catalog, hosts, clock }: Ports,
  replica: Replica,
  { key, signal, note }: UndoAttempt,
): Promise<void> {
  if (replica.failover !== null) return;
  const target = await hosts.ports(replica.targetHostId);
  const telling = { clock, patienceMs: UNDO_PATIENCE_MS, signal };
  const isTold = await orLeaveToSweeper(telling, (options) =>
    tellLeftFence(catalog, target, replica, { key, ...options }),
  );
  if (isTold) return;
  note('The target host does not answer: its replica folder does not tell so before the next run.');
}

type Told = Left & {
  readonly vm: WatchedVm;
  readonly how: How;
  /** The replica as it is to be, where it remembers more than before. */
  readonly remembered: Versioned<Replica> | null;
};

async function tellLeft(
  { catalog, clock }: Ports,
  { id: replicaId, name, sourceHostId, sourceVmId }: Replica,
  { to, seen, vm, how, remembered }: Told,
  { note }: UndoAttempt,
): Promise<void> {
  const is = seen.power === 'unknown' ? 'may be' : 'is';
  const place = shellArgument(to.replicaName);
  const remedy =
    how === 'off'
      ? `start ${vm.name} at its hypervisor.`
      : 'connect its NICs at its hypervisor: virsh domif-setlink VM MAC up, with --config and without. ' +
        `${name} remembers them, so that its next way back connects them, too.`;
  const message =
    `${vm.name} ${is} left ${how}, as ${named(to)}, had taken its place. To go back to ${vm.name}, first undo what ` +
    `put ${to.name} there, if that still serves (\`understudy undo-failover ${place}\`, or what \`understudy replica show ${place}\` allows), then ${remedy}`;
  note(message);
  const isSource = vm.hostId === sourceHostId && vm.vmId === sourceVmId;
  const condition = { name: 'source-left-fenced', message, since: clock.now() } as const;
  const changes: CatalogChange[] = [];
  if (remembered !== null) changes.push(savedReplica(remembered.value, remembered.version));
  if (isSource) changes.push({ type: 'condition-raised', replicaId, condition });
  if (changes.length > 0) await catalog.apply(changes);
}
