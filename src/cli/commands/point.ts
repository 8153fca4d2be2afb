import type { Command } from 'commander';
import type { PointAnswer, PointDetailAnswer } from '../../contract/point.ts';
import { group, leaf, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { count, formatAge, formatBytes, formatTime, yesNo } from '../format.ts';
import { renderDetails, renderTable } from '../table.ts';
import { settleAndShow } from './operation.ts';

export function pointCommands(program: Command, runner: Runner): void {
  const point = group(program, 'point', 'Restore points of a replica', [
    'point list web-01-replica',
    'point pin web-01-replica latest',
  ]);

  const list = leaf(point, 'list <replica>', 'List the restore points of a replica, oldest first', [
    'point list web-01-replica',
  ]);
  runner.run(list, async ({ client, showList, world }, [replica = '']) => {
    const points = (await client.call('listPoints', { parameters: { replica } })).items;
    showList(points, (rows) => renderPoints(rows, world.now()));
    return undefined;
  });

  const show = leaf(
    point,
    'show <replica> <point>',
    'Show a restore point: `latest`, an id, or a time (the newest point not after it)',
    ['point show web-01-replica latest', 'point show web-01-replica 2026-03-01T12:00:00Z'],
  );
  runner.run(show, async ({ client, show }, [replica = '', id = '']) => {
    show(await client.call('showPoint', { parameters: { replica, point: id } }), renderPoint);
    return undefined;
  });

  const pin = leaf(point, 'pin <replica> <point>', 'Keep a point whatever retention says', [
    'point pin web-01-replica latest',
  ]);
  runner.run(pin, async ({ client, tell }, [replica = '', id = '']) => {
    const pinned = await client.call('pinPoint', { parameters: { replica, point: id } });
    tell(
      pinned,
      `Restore point ${pinned.id} of ${formatTime(pinned.takenAt)} is kept until unpinned.`,
    );
    return undefined;
  });

  const copy = waitOptions(
    leaf(
      point,
      'export <replica> <point>',
      "Copy a point to qcow2 files that stand alone, into `exports/` of the target host's storage folder.\nReplication goes on beside it. Cancelled, it leaves nothing; interrupted, it goes on with the disk that it was at. What it made is yours: delete it when you need it no more, for nothing else does.",
      ['point export web-01-replica latest', 'point export web-01-replica pt-4f2a --no-wait'],
    ),
  );
  runner.run<WaitOptions>(copy, async (session, [replica = '', id = ''], { wait }) => {
    const parameters = { replica, point: id };
    const accepted = await session.client.call('exportPoint', { parameters });
    return settleAndShow(session, accepted, wait);
  });

  const unpin = leaf(point, 'unpin <replica> <point>', 'Let retention take a point again', [
    'point unpin web-01-replica pt-4f2a',
  ]);
  runner.run(unpin, async ({ client, tell }, [replica = '', id = '']) => {
    const unpinned = await client.call('unpinPoint', { parameters: { replica, point: id } });
    tell(
      unpinned,
      `Restore point ${unpinned.id} of ${formatTime(unpinned.takenAt)} follows retention again.`,
    );
    return undefined;
  });
}

function renderPoints(points: readonly PointAnswer[], nowMs: number): string {
  return renderTable(points, [
    { header: 'ID', cell: (point) => point.id },
    { header: 'TAKEN', cell: (point) => formatTime(point.takenAt) },
    { header: 'AGE', cell: (point) => formatAge(point.takenAt, nowMs) },
    { header: 'CONSISTENCY', cell: (point) => point.consistency },
    { header: 'TRANSFER', cell: transferOf },
    { header: 'SENT', cell: (point) => formatBytes(sentBytes(point)), align: 'right' },
    { header: 'PINNED', cell: (point) => (point.isPinned ? 'yes' : '') },
  ]);
}

function transferOf(point: PointAnswer): string {
  return [...new Set(point.disks.map((disk) => disk.transfer))].join(', ');
}

function sentBytes(point: PointAnswer): number {
  return point.disks.reduce((sum, disk) => sum + disk.sentBytes, 0);
}

function renderPoint(point: PointDetailAnswer): string {
  const { vm } = point;
  return renderDetails([
    ['Point', point.id],
    ['Replica', point.replicaId],
    ['Taken', formatTime(point.takenAt)],
    ['Sealed', formatTime(point.sealedAt)],
    ['Consistency', point.consistency],
    ['Pinned', yesNo(point.isPinned)],
    ['VM', `${vm.name}, ${count(vm.cpuCount, 'CPU')}, ${formatBytes(vm.memoryBytes)}`],
    ['NICs', vm.nics.map((nic) => `${nic.mac ?? 'no MAC'} on ${nic.network}`)],
    ['Disks', point.disks.map(diskLine)],
    ['Hash', point.rootHash],
  ]);
}

function diskLine(disk: PointAnswer['disks'][number]): string {
  return `${disk.key}: ${formatBytes(disk.sizeBytes)}, ${disk.transfer} (${formatBytes(disk.sentBytes)} sent) because ${disk.because}`;
}
