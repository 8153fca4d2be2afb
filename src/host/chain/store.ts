/**
 * The chains of replicas as folders of qcow2 layers (docs/formats/replica-folder.md): the implementation of
 * `ReplicaStore` for hosts that run QEMU. This file only puts the commands together: one at a time per
 * replica, after what an earlier life left running was ended, with native errors turned into ours.
 */
import { statfs } from 'node:fs/promises';
import type { StorageRoom } from '../../domain/host/storage-room.ts';
import type { ReplicaId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Mover } from '../../ports/mover.ts';
import type { Processes } from '../../ports/processes.ts';
import type { ReplicaStore } from '../../ports/replica-store.ts';
import { GLIBC_TUNABLES } from '../nbd-server-tuning.ts';
import { branchWrites, listBranches } from './archived-branches.ts';
import { keepSidecars, noteBranch } from './beside-branch.ts';
import { readBootId } from './boot.ts';
import {
  archiveBranch,
  branchBytes,
  createBranch,
  deleteBranch,
  isBranchUnwritten,
} from './branches.ts';
import { admit, epochOf, layoutOf, type StoreContext } from './context.ts';
import { differingBlocks } from './differing-blocks.ts';
import { makeFolder } from './durable-file.ts';
import { storeError, throwIfCancelled } from './errors.ts';
import { discardExport, openExport, sealExport } from './exports.ts';
import { createImageServer } from './image-server.ts';
import { createImages } from './images.ts';
import { inspectReplica } from './inspect.ts';
import { FOLDER_MODE, replicaLayout } from './layout.ts';
import { listPoints } from './list-points.ts';
import { createKeyedMutex } from './mutex.ts';
import { discardPartial, openPartial } from './open-partial.ts';
import { finishPromotion, promoteBranch } from './promote.ts';
import { closeReading, openReading } from './reading.ts';
import { repairReplica } from './repair.ts';
import { createReplica, deleteReplica, foundReplicas, sweepReplicas } from './replicas.ts';
import { retirePoint, tidy } from './retire.ts';
import { sealPartial, stageSidecars } from './seal-partial.ts';
import { describeSeed, openSeed, settlePartial } from './seeds.ts';

export type ReplicaStoreOptions = {
  /** Replicas' folders are in it. Absolute; made when missing. Only one store may use it at a time. */
  readonly storageFolder: string;
  /**
   * Private folder for sockets, absolute and short (a socket's path has at most 107 bytes); made when missing. The
   * same after a restart, so that servers left running are found and ended.
   */
  readonly runtimeFolder: string;
  readonly processes: Processes;
  readonly clock: Clock;
  /** Reads layers again that others changed; without it such a layer can only be given up. */
  readonly verifier?: Pick<Mover, 'verify'>;
  /** Of the servers; without it what nbd-server-tuning.ts says. */
  readonly serverEnvironment?: Readonly<Record<string, string>>;
  /** Without it the kernel's. */
  readonly bootId?: () => Promise<string>;
  /** For tests: called by name at every line where dying must do no harm. */
  readonly onCrashPoint?: (name: string) => void;
};

export function createReplicaStore(options: ReplicaStoreOptions): ReplicaStore {
  const { storageFolder, runtimeFolder, processes, clock } = options;
  const environment = options.serverEnvironment ?? { GLIBC_TUNABLES };
  const context: StoreContext = {
    storageFolder,
    images: createImages({ processes }),
    server: createImageServer({ runtimeFolder, processes, clock, environment }),
    clock,
    verifier: options.verifier ?? null,
    bootId: options.bootId ?? readBootId,
    crashPoint: options.onCrashPoint ?? (() => undefined),
  };
  return storeOf(context);
}

function storeOf(context: StoreContext): ReplicaStore {
  const inTurn = createTurns(context);
  const ofCommand = <Command extends { readonly replicaId: ReplicaId }, Result>(
    run: (context: StoreContext, command: Command, options: CallOptions) => Promise<Result>,
  ) => {
    return (command: Command, options: CallOptions) =>
      inTurn(command.replicaId, options, () => run(context, command, options));
  };
  return {
    createReplica: ofCommand(createReplica),
    raiseEpoch: ofCommand(async (_, command) => {
      await admit(layoutOf(context, command.replicaId), command);
    }),
    // Not in turn: who is out of date must hear it although a long merge is under way.
    epoch: (replicaId, options) => mapped(context, options, () => epochOf(context, replicaId)),
    openPartial: ofCommand(openPartial),
    settlePartial: ofCommand(settlePartial),
    sealPartial: ofCommand(sealPartial),
    discardPartial: ofCommand(discardPartial),
    // Not in turn: a list must not wait for a long merge.
    points: (replicaId, options) =>
      mapped(context, options, () => listPoints(layoutOf(context, replicaId))),
    replicas: (options) => mapped(context, options, () => foundReplicas(context)),
    retirePoint: ofCommand(retirePoint),
    tidy: ofCommand(async (_, command, options) => {
      await sweepReplicas(context);
      if ((await finishPromotion(context, command, options)) === 'none')
        await tidy(context, command, options);
    }),
    restingDisks: (replicaId, disks) => {
      const layout = replicaLayout(context.storageFolder, replicaId);
      return disks.map((key) => ({ key, path: layout.restingImage(key), format: 'qcow2' }));
    },
    createBranch: ofCommand(createBranch),
    noteBranch: ofCommand(noteBranch),
    stageSidecars: ofCommand(stageSidecars),
    keepSidecars: ofCommand(keepSidecars),
    archiveBranch: ofCommand(archiveBranch),
    deleteBranch: ofCommand(deleteBranch),
    branchBytes: (replicaId, branchId, options) =>
      mapped(context, options, () => branchBytes(context, replicaId, branchId)),
    isBranchUnwritten: (replicaId, branchId, since, options) =>
      inTurn(replicaId, options, () => isBranchUnwritten(context, replicaId, branchId, since)),
    branches: (replicaId, options) =>
      inTurn(replicaId, options, () => listBranches(context, replicaId)),
    branchWrites: (replicaId, branchId, options) =>
      inTurn(replicaId, options, () => branchWrites(context, replicaId, branchId)),
    openExport: ofCommand(openExport),
    sealExport: ofCommand(sealExport),
    discardExport: ofCommand(discardExport),
    openReading: ofCommand(openReading),
    closeReading: ofCommand(closeReading),
    describeSeed: (files, options) =>
      mapped(context, options, () => describeSeed(context, files, options)),
    openSeed: ofCommand(openSeed),
    differingBlocks: ofCommand(differingBlocks),
    inspect: (replicaId, options) =>
      inTurn(replicaId, options, () => inspectReplica(context, replicaId)),
    repair: ofCommand(repairReplica),
    promoteBranch: ofCommand(promoteBranch),
    deleteReplica: ofCommand(deleteReplica),
    room: (options) => mapped(context, options, () => roomIn(context.storageFolder)),
  };
}

/** One command at a time per replica: two must never both decide about the same layers. */
function createTurns(context: StoreContext) {
  const mutex = createKeyedMutex();
  return <Result>(replicaId: ReplicaId, options: CallOptions, run: () => Promise<Result>) =>
    mutex(replicaId, options.signal, () =>
      mapped(context, options, async () => {
        await context.server.reclaim(options);
        return await run();
      }),
    );
}

async function mapped<Result>(
  context: StoreContext,
  { signal }: CallOptions,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    throwIfCancelled(signal);
    return await run();
  } catch (error) {
    throw storeError(error, context.storageFolder);
  }
}

async function roomIn(folder: string): Promise<StorageRoom> {
  await makeFolder(folder, FOLDER_MODE);
  const { bavail, blocks, bsize } = await statfs(folder);
  return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
}
