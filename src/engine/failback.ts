/**
 * Failback, the long first half: the replica serves on while all that differs is copied over production's disks.
 *
 *   load → look at the source, if another VM takes its place → look at production → record epoch → tell the branch → stop production → lay working layers → copy
 *        → record ReadyToSwitch
 *
 * Production's own disks are only read; what is copied goes into layers over them. Until the record a failure drops
 * them and starts production again if it ran. Production's disks must stand still from here on, so it is off.
 */
import { UnderstudyError } from '../domain/error.ts';
import {
  type FailbackHome,
  type FailbackRecord,
  homeRefusal,
  planLayers,
  type SwitchoverMode,
} from '../domain/failover/failback.ts';
import { failbackTo } from '../domain/failover/siblings.ts';
import { failbackId, hostId, vmId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type FailbackFacts, layersCommand, loadFailbackFacts } from './failback-facts.ts';
import { beginPass, endPass, type Moved } from './failback-pass.ts';
import { heedSource } from './heed-source.ts';
import { flagIn, numberIn, textIn, textOrNullIn } from './input.ts';
import { markNamedBy } from './kept-marks.ts';
import { leavesOff } from './leave-place.ts';
import { savedReplica } from './replica-facts.ts';
import { shutDownVm } from './shut-down-vm.ts';
import { tellBranch } from './tell-branch.ts';
import { layersTemporary } from './temporaries.ts';

export function failbackDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'failback',
    run: async (context, input) => {
      const begun = await begin(ports, context, input);
      await tell(context, begun);
      const hasStoppedHome = await stopHome(ports, context, begun, input);
      await layLayers(context, begun);
      const moved = await context.part('pass-1', 'operation', async (part) => {
        const { failback, home, facts } = begun;
        const { id, layers } = failback;
        const homeVmId = failback.home.vmId;
        const order = { facts, home, homeVmId, failbackId: id, layers, number: 1, since: null };
        const copied = await beginPass(part, order);
        await endPass(part, copied.pass);
        return copied;
      });
      await recordReady(context, begun, moved, hasStoppedHome);
      return { failbackId: begun.failback.id, sentBytes: moved.sentBytes };
    },
  };
}

type Begun = {
  /** With the epoch already raised. */
  readonly facts: FailbackFacts;
  readonly home: HostPorts;
  readonly homeVm: VmDescription | null;
  readonly failback: Omit<FailbackRecord, 'syncedMark' | 'syncedAt' | 'syncedBytes' | 'passes'>;
};

async function begin(ports: EnginePorts, context: OperationContext, input: Json): Promise<Begun> {
  const facts = await loadFailbackFacts(ports, context, input, 'failback');
  const home = homeIn(input);
  await heedSource(ports, context, facts, home);
  const host = await actingFor(ports, facts.replica.id, home.hostId);
  const startedAt = await context.now('started-at');
  const id = failbackId(await context.freshId('failback-id', 'fb'));
  const { homeVm, replicaVm } = await lookAtBoth(context, facts, host, home);
  const mark = home.kind === 'original' ? markNamedBy(facts.newest) : null;
  const failback = {
    id,
    home,
    layers: planLayers(replicaVm, homeVm, mark),
    operationId: context.operationId,
    startedAt,
    switchover: switchoverIn(input),
    appliesChanges: flagIn(input, 'appliesChanges'),
    hasStoppedHome: false,
    switched: null,
  };
  const raised = { ...facts.replica, epoch: facts.replica.epoch + 1 };
  const temporary = layersTemporary(context.operationId, raised, failback, startedAt);
  await context.record(
    'raise-epoch',
    [savedReplica(raised, facts.version), { type: 'temporary-registered', temporary }],
    { undo: 'nothing' },
  );
  const known = { ...facts, replica: raised, version: facts.version + 1 };
  return { facts: known, home: host, homeVm, failback };
}

type Both = { readonly homeVm: VmDescription | null; readonly replicaVm: VmDescription };

/** Throws `vm-missing` where the VM to go back to is gone, `failback-refused` where it cannot take the disks. */
function lookAtBoth(
  context: OperationContext,
  { target, replicaVmId, replica, catalog }: FailbackFacts,
  host: HostPorts,
  home: FailbackHome,
): Promise<Both> {
  return context.step<Both>('look-at-both', {
    do: async ({ signal }) => {
      const replicaVm = await target.hypervisor.vm(replicaVmId, { signal });
      if (home.vmId === null) return { homeVm: null, replicaVm };
      const homeVm = await host.hypervisor.vm(home.vmId, { signal });
      const refused =
        (await otherFailback(catalog, replica, home)) ?? homeRefusal(homeVm, replicaVm);
      if (refused === null) return { homeVm, replicaVm };
      throw new UnderstudyError('failback-refused', {
        replica: replica.name,
        vm: home.name,
        reason: refused,
      });
    },
    undo: 'nothing',
  });
}

/** Layers over layers could not be merged one without the other: why it is refused, a sentence part; null when there are none. */
export async function otherFailback(
  catalog: Catalog,
  replica: Replica,
  home: FailbackHome,
): Promise<string | null> {
  const all = (await catalog.replicas()).map(({ value }) => value);
  const other = failbackTo(home, replica, all);
  if (other === null) return null;
  return `the failback of replica ${other.name} to it has been neither committed nor undone`;
}

/** Before anything is done to production: who loses this controller's records finds there where the replica's writes were going. */
async function tell(context: OperationContext, { facts, homeVm, failback }: Begun): Promise<void> {
  const hasStoppedHome = homeVm !== null && homeVm.power !== 'off';
  await context.step<null>('tell-branch', {
    do: async (attempt) => {
      await tellBranch(facts, { ...failback, hasStoppedHome, switched: null }, attempt);
      return null;
    },
    undo: (attempt) => tellBranch(facts, null, attempt),
  });
}

/** Whether it ran. What it wrote since the restore point is not kept: the replica's writes are what counts. */
async function stopHome(
  ports: EnginePorts,
  context: OperationContext,
  { facts, home, homeVm, failback }: Begun,
  input: Json,
): Promise<boolean> {
  if (homeVm === null) return false;
  const { hypervisor } = home;
  if (homeVm.power === 'off') {
    if (homeVm.hasSavedState) await discardSavedState(context, homeVm, home, input);
    return false;
  }
  const { hostId, name } = failback.home;
  const production = { hostId, vmId: homeVm.id, name };
  const how = await shutDownVm(context, {
    role: 'production',
    name,
    vmId: homeVm.id,
    hypervisor,
    deadlineMs: numberIn(input, 'shutdownDeadlineMs'),
    onMissedDeadline: 'power-off',
    // While the bulk was copied another replica of the VM may have been failed over, and have seen that it is off.
    comeBack: async (start, undoing) => {
      if (!(await leavesOff(ports, facts.replica, production, undoing))) await start();
    },
  });
  return how !== 'none';
}

/** Resumed over changed disks it would corrupt them; thrown away only with consent. */
async function discardSavedState(
  context: OperationContext,
  { id, name }: VmDescription,
  { hypervisor }: HostPorts,
  input: Json,
): Promise<void> {
  if (!flagIn(input, 'discardsSavedState')) {
    throw new UnderstudyError('saved-state-present', { vm: name });
  }
  await context.step<null>('discard-saved-state', {
    do: async ({ key, signal }) => {
      await hypervisor.discardSavedState({ key, vmId: id }, { signal });
      return null;
    },
    undo: 'nothing',
  });
}

/** Served only while something is copied: here they are made, and production is parked. */
async function layLayers(
  context: OperationContext,
  { facts, home, failback }: Begun,
): Promise<void> {
  const { productionDisks } = home;
  await context.step<null>('lay-working-layers', {
    do: async ({ key, signal }) => {
      const command = layersCommand(failback, facts.replica, key);
      const { layers, home: to } = failback;
      await productionDisks.lay({ ...command, vmId: to.vmId, disks: layers }, { signal });
      await productionDisks.settle(command, { signal });
      return null;
    },
    undo: ({ key, signal }) =>
      productionDisks.drop(layersCommand(failback, facts.replica, key), { signal }),
  });
}

async function recordReady(
  context: OperationContext,
  { facts, failback }: Begun,
  moved: Moved,
  hasStoppedHome: boolean,
): Promise<void> {
  const record: FailbackRecord = {
    ...failback,
    layers: moved.layers,
    hasStoppedHome,
    syncedMark: moved.mark,
    syncedAt: await context.now('synced-at'),
    syncedBytes: moved.sentBytes,
    passes: 1,
  };
  const ready: Replica = apply({ ...facts.replica, failback: record }, 'failback-presynced');
  const { key } = layersTemporary(context.operationId, ready, record, record.startedAt);
  await context.record(
    'record-ready-to-switch',
    [savedReplica(ready, facts.version), { type: 'temporary-released', key }],
    { undo: 'irreversible' },
  );
}

function homeIn(input: Json): FailbackHome {
  const id = textOrNullIn(input, 'homeVmId');
  const kind = textIn(input, 'homeKind');
  return {
    hostId: hostId(textIn(input, 'homeHostId')),
    vmId: id === null ? null : vmId(id),
    name: textIn(input, 'homeName'),
    kind: kind === 'copy' || kind === 'new' ? kind : 'original',
  };
}

function switchoverIn(input: Json): SwitchoverMode {
  const type = textIn(input, 'switchover');
  if (type === 'at') return { type, at: instant(numberIn(input, 'switchoverAt')) };
  if (type === 'below') return { type, bytes: numberIn(input, 'switchoverBytes') };
  return { type: type === 'automatic' ? type : 'manual' };
}
