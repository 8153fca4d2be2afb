import type { Command } from 'commander';
import type { GuardAnswer } from '../../contract/guard.ts';
import { group, leaf, notEmpty, type Runner } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { formatTime } from '../format.ts';
import { renderDetails, renderTable } from '../table.ts';

type InstallOptions = { readonly hooks?: string };

export function guardCommands(program: Command, runner: Runner): void {
  const guard = group(
    program,
    'guard',
    'Keep VMs that failed over from starting at their old host',
    ['guard install production', 'guard show production'],
  );
  installCommand(guard, runner);

  const show = leaf(
    guard,
    'show <host>',
    'Show what a host holds back, and prove that it does.\nThe proof is a VM of 16 MiB without a disk, which the host must refuse to start; nothing of it stays. Exit code 1 unless it did.',
    ['guard show production', 'guard show production -o json'],
  );
  runner.run(show, async ({ client, show: showAnswer }, [host = '']) => {
    const answer = await client.call('showGuard', { parameters: { host } });
    showAnswer(answer, renderGuard);
    return answer.state === 'active' ? EXIT.ok : EXIT.failed;
  });

  const lift = leaf(
    guard,
    'lift <host> <vm>',
    'Let one VM start again, although its replica serves.\nFor a source whose replica became permanent, or that a failback left behind. To go back to a source while its replica serves, undo the failover instead: that lets it go, too. `understudy fence` holds it again.',
    ['guard lift production web-01', 'guard lift production 5b1f1c7e-6f4c-4a53-9a0e-0d6d7a3c9b01'],
  );
  runner.run(lift, async ({ client, show: showAnswer, say }, [host = '', vm = '']) => {
    showAnswer(await client.call('liftGuard', { parameters: { host, vm } }), renderGuard);
    say(`${vm} may start on ${host}.`);
    return undefined;
  });

  const remove = leaf(
    guard,
    'remove <host>',
    'Take the guard out of a host; every VM that it holds may start then',
    ['guard remove production'],
  );
  runner.run(remove, async ({ client, tell }, [host = '']) => {
    const removed = await client.call('removeGuard', { parameters: { host } });
    tell(removed, `Host ${removed.name} holds no VM back any more.`);
    return undefined;
  });
}

function installCommand(guard: Command, runner: Runner): void {
  const install = leaf(
    guard,
    'install <host>',
    'Let a host refuse to start VMs whose replicas serve elsewhere.\nA libvirt hook, put in once on a calm day. From then on every failover tells the host which VM to hold, and the host keeps to it by itself, also when it boots alone at night. libvirt notices the hook when it is reloaded: do that once, and see by `guard show` that it works. Exit code 0 says that the hook is there, not that it works.',
    ['guard install production', 'guard install production --hooks /var/lib/libvirt/hooks'],
  ).option(
    '--hooks <folder>',
    'where this libvirt looks for hooks (default: as last time, or /etc/libvirt/hooks)',
    notEmpty,
  );
  runner.run<InstallOptions>(install, async ({ client, show, say }, [host = ''], { hooks }) => {
    const body = { hooksFolder: hooks ?? null };
    const answer = await client.call('installGuard', { parameters: { host }, body });
    show(answer, renderGuard);
    if (answer.state !== 'active') {
      const proof = `\`understudy guard show ${answer.hostName}\``;
      say(`Installed, but not seen to work yet: it holds nothing before ${proof} says \`active\`.`);
    }
    return undefined;
  });
}

function renderGuard({ hostName, hooksFolder, state, because, held }: GuardAnswer): string {
  const details = renderDetails([
    ['Host', hostName],
    ['Hooks', hooksFolder ?? 'no guard was asked for'],
    ['Guard', state],
    ['Because', because],
    ['Holds', String(held.length)],
  ]);
  if (held.length === 0) return details;
  const table = renderTable(held, [
    { header: 'VM', cell: (vm) => vm.vmName ?? vm.vmId },
    { header: 'REPLICA', cell: (vm) => vm.replicaName ?? `${vm.replicaId} (not known here)` },
    { header: 'SINCE', cell: (vm) => formatTime(vm.since) },
    { header: 'UUID', cell: (vm) => vm.vmId },
  ]);
  return `${details}\n${table}`;
}
