/** The demo's plot, and the figures that it ends with. */
import { failOverToOlder, loseSource, resume, undo } from './come-back.ts';
import { failOverToNewest, makePermanent } from './move-for-good.ts';
import { type Protection, protect, takePoints } from './protect.ts';
import { formatMebibytes, formatSeconds } from './report.ts';
import type { Loss, Scene, TakenPoint } from './scene.ts';
import type { Service } from './take-over.ts';

/** @throws Error when something cannot go on; a claim that is false does not stop it. */
export async function playStory(scene: Scene): Promise<Service> {
  await protect(scene);
  const protection = await takePoints(scene);
  const loss = await loseSource(scene, protection);
  const first = await failOverToOlder(scene, protection, loss);
  const undoMs = await undo(scene, first);
  const resynced = await resume(scene, first, loss);
  const second = await failOverToNewest(scene, resynced);
  const permanentMs = await makePermanent(scene, second);
  summarise(scene, { protection, loss, first, resynced, second, undoMs, permanentMs });
  return second;
}

function summarise(
  { report }: Scene,
  story: {
    protection: Protection;
    loss: Loss;
    first: Service;
    resynced: TakenPoint;
    second: Service;
    undoMs: number;
    permanentMs: number;
  },
): void {
  const { protection, loss, first, resynced, second } = story;
  const points = [...protection.points, resynced];
  const ageAtLoss = (index: number): string => {
    const point = protection.points.at(index)?.point;
    return point === undefined ? '-' : formatSeconds(loss.atMs - Date.parse(point.takenAt));
  };
  report.act('Measured');
  report.table([
    ['restore points', points.map(({ point }) => sizeOf(point)).join(', ')],
    ['longest silence of the source', `${protection.watch.longestSilenceMs} ms`],
    ['RPO, newest point at the kill', ageAtLoss(-1)],
    [
      'RPO, point chosen',
      `${ageAtLoss(-2)}, ${loss.lastAnswer.seq - first.state.verified} records`,
    ],
    ['RTO, first failover', rto(first)],
    ['RTO, second (after a shutdown)', rto(second)],
    ['undo', formatSeconds(story.undoMs)],
    ['permanent', formatSeconds(story.permanentMs)],
  ]);
}

function sizeOf({ disks }: TakenPoint['point']): string {
  const kinds = [...new Set(disks.map((disk) => disk.transfer))].join('+');
  return `${kinds} ${formatMebibytes(disks.reduce((sum, disk) => sum + disk.sentBytes, 0))}`;
}

function rto({ runningAfterMs, agentAfterMs, answeringAfterMs }: Service): string {
  const agent = agentAfterMs === null ? '-' : formatSeconds(agentAfterMs);
  return `running ${formatSeconds(runningAfterMs)}, agent ${agent}, HTTP ${formatSeconds(answeringAfterMs)}`;
}
