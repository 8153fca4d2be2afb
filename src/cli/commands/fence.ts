import type { Command } from 'commander';
import { choice, leaf, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { settleAndShow } from './operation.ts';

type FenceOptions = WaitOptions & { readonly with: 'nics' | 'shutdown' | 'power-off' };
type UnfenceOptions = WaitOptions & { readonly acceptDuplicate?: boolean };

export function fenceCommands(program: Command, runner: Runner): void {
  const fence = leaf(
    program,
    'fence <replica>',
    'Cut the source off while its replica serves, e.g. when it came back after a failover.\nSucceeds only with proof: every link down, or the VM off. Undoing the failover lifts it.',
    ['fence web-01-replica --with nics', 'fence web-01-replica --with power-off'],
  ).addOption(
    choice(
      '--with <how>',
      'disconnect its NICs, ask it to shut down, or pull the plug (required)',
      ['nics', 'shutdown', 'power-off'],
    ).makeOptionMandatory(),
  );
  runner.run<FenceOptions>(waitOptions(fence), async (session, [replica = ''], options) => {
    const accepted = await session.client.call('fenceSource', {
      parameters: { replica },
      body: { fence: options.with },
    });
    return settleAndShow(session, accepted, options.wait);
  });

  const unfence = leaf(
    program,
    'unfence <replica>',
    'Give the source back what a fence took.\nIt is started, its disconnected NICs are connected, and its host lets it start where a start guard holds it. While the replica is connected this puts two machines of one identity on the network, which must be accepted.',
    ['unfence web-01-replica', 'unfence web-01-replica --accept-duplicate'],
  ).option('--accept-duplicate', 'although the replica is connected; recorded');
  runner.run<UnfenceOptions>(waitOptions(unfence), async (session, [replica = ''], options) => {
    const accepted = await session.client.call('unfenceSource', {
      parameters: { replica },
      body: { acceptDuplicate: options.acceptDuplicate === true },
    });
    return settleAndShow(session, accepted, options.wait);
  });
}
