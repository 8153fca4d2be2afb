/** What lies beside a branch's disks and changes while its VM serves: state of its firmware and TPM, and what the controller says of it. */
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { StoreCommand } from '../../ports/replica-store.ts';
import { writeBranch } from './branch-file.ts';
import { requireBranch } from './branches.ts';
import { admit, layoutOf, type StoreContext } from './context.ts';
import { copyDurably } from './durable-file.ts';
import { isNodeError } from './errors.ts';
import { BRANCH_MODE } from './layout.ts';

type BranchCommand = StoreCommand & { readonly branchId: BranchId };

/** The files are there before the branch says so. */
export async function keepSidecars(
  context: StoreContext,
  command: BranchCommand & { readonly sidecars: readonly Sidecar[] },
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  const branch = await requireBranch(layout, command.branchId);
  if (branch.state !== 'active') return;
  for (const { name, path } of command.sidecars) {
    await copyDurably(path, layout.branchSidecar(branch.id, name), BRANCH_MODE).catch((error) => {
      if (!isNodeError(error, 'ENOENT')) throw error;
      const reason = 'there is no such state file';
      throw new UnderstudyError('invalid-file', { path, reason }, { cause: error });
    });
  }
  context.crashPoint('sidecars: copied');
  const names = new Set([...branch.sidecars, ...command.sidecars.map(({ name }) => name)]);
  if (names.size > branch.sidecars.length) {
    await writeBranch(layout, { ...branch, sidecars: [...names] });
  }
}

export async function noteBranch(
  context: StoreContext,
  command: BranchCommand & { readonly about: Json },
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  const branch = await requireBranch(layout, command.branchId);
  const { about } = command;
  if (JSON.stringify(branch.about) === JSON.stringify(about)) return;
  await writeBranch(layout, { ...branch, about });
}
