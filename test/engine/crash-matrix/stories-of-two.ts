/** Operations on one of two replicas of a VM: each has to heed what the other one does, or has done. */
import type { OperationRecord } from '../../../src/domain/operation/operation.ts';
import { addElsewhere, replicaVm } from '../failback-stage.ts';
import { failoverOrder, options, type Stage, VDA, VDB } from '../stage.ts';
import {
  commit,
  failback,
  failedBack,
  failedOver,
  NEW_HOME,
  plannedFailover,
  protectedTwice,
  readyToSwitch,
  type Story,
  switchOver,
  undoFailback,
} from './situations.ts';

const FAR_JOB = 'weekly';

const runFar = (stage: Stage) => stage.replicate(FAR_JOB);

/** One replica far away is ready, and then comes what is said of the near one. */
function beside(prepare: Story['prepare']): Story['prepare'] {
  return async (stage) => {
    const elsewhere = await addElsewhere(stage);
    await stage.protect({ name: FAR_JOB, targetHost: elsewhere.id, replicaSuffix: '-far' });
    await runFar(stage);
    stage.vm.write(VDB, 1, 'after the first run of the far one');
    await prepare(stage);
  };
}

function failOverFar(stage: Stage, fence: 'none' | 'power-off'): Promise<OperationRecord> {
  const order = failoverOrder('latest', fence);
  return stage.finish((controller) => controller.failover('web-far', order, options));
}

/** The near one has nothing but its restore points, and the far one is connected. */
const farServes = beside(async (stage) => {
  await protectedTwice(stage);
  await failOverFar(stage, 'power-off');
});

/** The near one is shut down, and its host's people let the far one go on. */
const farServesInstead = beside(async (stage) => {
  await failedOver(stage);
  replicaVm(stage).stop();
  await failOverFar(stage, 'none');
});

/** What the near one wrote is at home, and kept. */
const homeAgain = beside(async (stage) => {
  await failedOver(stage);
  replicaVm(stage).write(VDA, 10, 'by the near one');
  await failback(stage);
  replicaVm(stage).write(VDA, 11, 'by the near one');
  await switchOver(stage);
  await commit(stage);
  stage.vm.write(VDA, 12, 'at home');
});

/** Another VM took the place of the source by the near one, for good. */
const homeElsewhere = beside(async (stage) => {
  await failedOver(stage);
  await failback(stage, NEW_HOME);
  await switchOver(stage);
  await commit(stage);
});

/** The same calls as beside nobody, and a few more. */
const LIKE_ALONE = { stride: 3 } as const;

export const STORIES_OF_TWO: Readonly<Record<string, Story>> = {
  'replication beside another replica': {
    ...LIKE_ALONE,
    prepare: beside(protectedTwice),
    act: runFar,
  },
  'replication after the commit of another replica': {
    ...LIKE_ALONE,
    prepare: homeAgain,
    act: runFar,
  },
  'failover beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(protectedTwice),
    act: (stage) => stage.failover('latest', 'power-off'),
  },
  'failover beside a replica that serves': {
    prepare: farServes,
    act: (stage) => stage.failover('latest', 'none'),
  },
  'failover beside the VM that another replica went home to': {
    ...LIKE_ALONE,
    prepare: homeElsewhere,
    act: (stage) => failOverFar(stage, 'none'),
  },
  'planned failover beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(protectedTwice),
    act: plannedFailover,
  },
  'planned failover beside a replica that serves': {
    prepare: farServes,
    act: plannedFailover,
    refusedWith: 'sibling-serves',
  },
  'undo failover beside a replica that serves': {
    prepare: farServesInstead,
    act: (stage) => stage.undo(),
  },
  'failback beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(failedOver),
    act: (stage) => failback(stage),
  },
  'failback beside a replica that serves': {
    prepare: farServesInstead,
    act: (stage) => failback(stage),
    refusedWith: 'sibling-serves',
  },
  'switchover beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(readyToSwitch),
    act: switchOver,
  },
  'switchover beside a replica that serves': {
    ...LIKE_ALONE,
    prepare: beside(async (stage) => {
      await readyToSwitch(stage);
      replicaVm(stage).stop();
      await failOverFar(stage, 'none');
    }),
    act: switchOver,
    refusedWith: 'sibling-serves',
  },
  'unfence beside a replica that serves': {
    prepare: beside(async (stage) => {
      await protectedTwice(stage);
      await stage.failover('latest', 'none');
      await failOverFar(stage, 'power-off');
    }),
    act: (stage) =>
      stage.finish((controller) => controller.unfenceSource('web-replica', false, options)),
    refusedWith: 'sibling-serves',
  },
  'commit failback beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(failedBack),
    act: commit,
    afterwards: async (stage) => {
      await commit(stage).catch(() => null);
      return stage.replicate(); // protection goes on: what could not be retired goes then
    },
  },
  'undo failback beside a replica that is ready': {
    ...LIKE_ALONE,
    prepare: beside(failedBack),
    act: undoFailback,
  },
  'undo failback beside a replica that serves': {
    prepare: beside(async (stage) => {
      await failedBack(stage);
      await failOverFar(stage, 'power-off');
    }),
    act: undoFailback,
    refusedWith: 'sibling-serves',
  },
};
