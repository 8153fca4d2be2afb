/** Archived branches, one at a time: kept longer or shorter than the job says, or gone now. */
import { UnderstudyError } from '../domain/error.ts';
import { type BranchId, branchId, replicaId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { branchOver } from '../domain/replica/archives.ts';
import type { ArchivedBranch, Replica } from '../domain/replica/replica.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { beingExported } from './export.ts';
import { numberIn, textIn } from './input.ts';
import { archiveBranch } from './leave-branch.ts';
import { loadReplica, type ReplicaFacts, savedReplica } from './replica-facts.ts';

export function keepArchiveDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'keep-archive',
    run: async (context, input) => {
      const { facts, archive } = await loadArchive(ports, context, input, 'keep-archive');
      const kept = { ...archive, keepUntil: instant(numberIn(input, 'keepUntil')) };
      const target = await ports.hosts.ports(facts.replica.targetHostId);
      await context.step<null>('keep-branch', {
        do: async (attempt) => {
          await archiveBranch(target, facts.replica, kept, attempt);
          return null;
        },
        undo: 'nothing',
      });
      await recordArchives(context, facts, (one) => (one === archive ? [kept] : [one]));
      return { branchId: kept.branchId, keepUntil: kept.keepUntil };
    },
  };
}

export function deleteArchiveDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'delete-archive',
    run: async (context, input) => {
      const { facts, archive } = await loadArchive(ports, context, input, 'delete-archive');
      const { id: replicaId, epoch, targetHostId } = facts.replica;
      const { store } = await ports.hosts.ports(targetHostId);
      await context.step<null>('delete-branch', {
        do: async ({ key, signal }) => {
          await requireNotExported(ports, facts.replica, archive.branchId);
          const command = { key, replicaId, epoch, branchId: archive.branchId };
          await store.deleteBranch(command, { signal });
          return null;
        },
        undo: 'nothing',
      });
      await recordArchives(context, facts, (one) => (one === archive ? [] : [one]));
      return { branchId: archive.branchId };
    },
  };
}

async function loadArchive(
  ports: EnginePorts,
  context: OperationContext,
  input: Json,
  operation: 'keep-archive' | 'delete-archive',
): Promise<{ readonly facts: ReplicaFacts; readonly archive: ArchivedBranch }> {
  const id = replicaId(textIn(input, 'replicaId'));
  const facts = await loadReplica(ports, context, id, operation);
  const archive = requireArchive(facts.replica, branchId(textIn(input, 'branchId')));
  if (operation === 'delete-archive') requireNoneOver(facts.replica, archive.branchId);
  return { facts, archive };
}

/** Throws `branch-missing`. */
function requireArchive({ name, archives }: Replica, id: BranchId): ArchivedBranch {
  const found = archives.find((archive) => archive.branchId === id);
  if (found !== undefined) return found;
  throw new UnderstudyError('branch-missing', { replica: name, branch: id });
}

/** Throws `branch-needed`. */
export function requireNoneOver(replica: Replica, branch: BranchId): void {
  const over = branchOver(replica, branch);
  if (over === null) return;
  throw new UnderstudyError('branch-needed', { replica: replica.name, branch, over });
}

async function requireNotExported(
  ports: EnginePorts,
  replica: Replica,
  branch: BranchId,
): Promise<void> {
  const operation = (await beingExported(ports, replica)).get(branch);
  if (operation === undefined) return;
  const what = `Archive ${branch}`;
  throw new UnderstudyError('operation-in-progress', { what, operation, kind: 'export' });
}

function recordArchives(
  context: OperationContext,
  { replica, version }: ReplicaFacts,
  change: (archive: ArchivedBranch) => readonly ArchivedBranch[],
): Promise<void> {
  const archives = replica.archives.flatMap(change);
  return context.record('record-archives', [savedReplica({ ...replica, archives }, version)], {
    undo: 'nothing',
  });
}
