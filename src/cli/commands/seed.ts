import type { Command } from 'commander';
import { leaf, type Runner } from '../command-tree.ts';
import { usageFailure } from '../failure.ts';
import { parseSeeds } from '../seeds.ts';
import { renderReplica } from './replica.ts';

export function seedCommand(replica: Command, runner: Runner): void {
  const seed = leaf(
    replica,
    'seed <replica> [seed...]',
    [
      'Before its first run, say what is at the target already: only what differs is sent then.',
      'A seed is DISK:PATH for each disk (qcow2, raw or VHDX on the target host), vm:NAME (a VM there that is off) or replica:NAME (the newest point of another replica there). It is only read.',
    ].join('\n'),
    [
      'replica seed web-01-replica vda:/srv/seed/web-01-vda.qcow2 vdb:/srv/seed/web-01-vdb.vhdx',
      'replica seed web-01-replica vm:web-01-restored',
      'replica seed web-01-replica replica:web-00-replica',
      'replica seed web-01-replica --none',
    ],
  ).option('--none', 'send everything');
  runner.run<{ readonly none?: boolean }>(
    seed,
    async ({ client, show, world }, [name = '', ...words], { none }) => {
      if (none === true && words.length > 0) throw usageFailure('Name a seed or --none, not both.');
      const from = none === true ? null : parseSeeds(words);
      const parameters = { replica: name };
      const answer = await client.call('seedReplica', { parameters, body: { from } });
      show(answer, (one) => renderReplica(one, world.now()));
      return undefined;
    },
  );
}
