import type { Command } from 'commander';
import type { HopRequestBody } from '../../contract/failover.ts';
import { leaf, notEmpty, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { usageFailure } from '../failure.ts';
import { renderPreview } from './failover.ts';
import { settleAndShow } from './operation.ts';

type HopOptions = WaitOptions & {
  readonly point?: string;
  readonly archive?: string;
  readonly reason?: string;
  readonly acceptDuplicate?: boolean;
  readonly dryRun?: boolean;
};

export function hopCommand(program: Command, runner: Runner): void {
  const hop = leaf(
    program,
    'hop <replica>',
    'Move a replica that serves to another restore point, when the one it was failed over to turns out wrong.\nThe guest is powered off and its writes are set aside as an archived branch. If anything fails before the replica is on the other point, it runs again where it was.',
    [
      'hop web-01-replica --point 2026-03-01T12:00:00Z --dry-run',
      'hop web-01-replica --point pt-4f2a --reason "malware was already in the newest"',
      'hop web-01-replica --archive br-7c1d',
    ],
  )
    .option('--point <point>', 'latest, an id, or a time: the newest not after it', notEmpty)
    .option('--archive <branch>', 'an archived branch: see `understudy archive list`', notEmpty)
    .option('--reason <text>', 'recorded with the failover')
    .option('--accept-duplicate', 'connect the replica although the source runs; recorded')
    .option('--dry-run', 'say what it would mean; change nothing');
  runner.run<HopOptions>(waitOptions(hop), async (session, [replica = ''], options) => {
    const request = { parameters: { replica }, body: hopRequest(options) };
    if (options.dryRun === true) {
      const preview = await session.client.call('previewHop', request);
      session.show(preview, renderPreview);
      return preview.refusedBecause === null ? EXIT.ok : EXIT.conflict;
    }
    return settleAndShow(session, await session.client.call('hop', request), options.wait);
  });
}

/** Where to is always said: no default is what somebody who is in trouble meant. */
function hopRequest({ point, archive, reason, acceptDuplicate }: HopOptions): HopRequestBody {
  if ((point === undefined) === (archive === undefined)) {
    throw usageFailure('Say where to: either --point or --archive.');
  }
  return {
    ...(point === undefined ? {} : { point }),
    ...(archive === undefined ? {} : { archive }),
    ...(reason === undefined ? {} : { reason }),
    ...(acceptDuplicate === undefined ? {} : { acceptDuplicate }),
  };
}
