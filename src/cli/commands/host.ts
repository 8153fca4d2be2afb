import type { Command } from 'commander';
import type { HostAnswer, HostDetailAnswer, VmAnswer } from '../../contract/host.ts';
import { group, leaf, notEmpty, type Runner } from '../command-tree.ts';
import { count, formatBytes, formatTime } from '../format.ts';
import { parseBytes, parseCount } from '../quantities.ts';
import { renderDetails, renderTable } from '../table.ts';

type AddOptions = {
  readonly uri: string;
  readonly storage: string;
  readonly scratch?: string;
  readonly slots?: string;
  readonly tests?: string;
  readonly storageReserve?: string;
};

export function hostCommands(program: Command, runner: Runner): void {
  const host = group(program, 'host', 'Hypervisor hosts', [
    'host add production --uri qemu:///system --storage /srv/understudy',
    'host list',
  ]);
  addCommand(host, runner);

  const list = leaf(host, 'list', 'List the hosts', ['host list', 'host list -o json']);
  runner.run(list, async ({ client, showList }) => {
    showList((await client.call('listHosts')).items, renderHosts);
    return undefined;
  });

  const show = leaf(host, 'show <host>', 'Show a host and what it says of itself', [
    'host show production',
  ]);
  runner.run(show, async ({ client, show }, [name = '']) => {
    show(await client.call('showHost', { parameters: { host: name } }), renderHost);
    return undefined;
  });

  const remove = leaf(host, 'remove <host>', 'Forget a host that no job or replica uses', [
    'host remove old-host',
  ]);
  runner.run(remove, async ({ client, tell }, [name = '']) => {
    const removed = await client.call('removeHost', { parameters: { host: name } });
    tell(removed, `Host ${removed.name} is removed.`);
    return undefined;
  });
}

function addCommand(host: Command, runner: Runner): void {
  const add = leaf(
    host,
    'add <name>',
    'Add a host: a libvirt daemon on this machine, with the folders to use there',
    [
      'host add production --uri qemu:///system --storage /srv/understudy',
      'host add lab --uri qemu:///session --storage ~/replicas --scratch /var/tmp/scratch --slots 1',
      'host add recovery --uri qemu:///system --storage /srv/replicas --storage-reserve 20GiB',
    ],
  )
    .requiredOption('--uri <uri>', 'libvirt connection URI (required)', notEmpty)
    .requiredOption(
      '--storage <folder>',
      'where replicas live on the host: an absolute path (required)',
      notEmpty,
    )
    .option(
      '--scratch <folder>',
      'where old blocks of frozen VMs are kept (default: .scratch in the storage folder)',
      notEmpty,
    )
    .option(
      '--storage-reserve <size>',
      'what replication leaves free where replicas live (default: 5 %, at most 1GiB)',
    )
    .option('--slots <count>', 'how many transfers may run at once (default: 2)')
    .option('--tests <count>', 'how many test VMs may run on it at once (default: 2)');
  runner.run<AddOptions>(add, async ({ client, show }, [name = ''], options) => {
    const { uri, storage, scratch, slots, tests, storageReserve: reserve } = options;
    const body = {
      name,
      address: uri,
      storageFolder: storage,
      ...(scratch === undefined ? {} : { scratchFolder: scratch }),
      ...(slots === undefined ? {} : { transferSlots: parseCount(slots, '--slots') }),
      ...(reserve === undefined
        ? {}
        : { storageReserveBytes: parseBytes(reserve, '--storage-reserve') }),
      ...(tests === undefined ? {} : { testSlots: parseCount(tests, '--tests') }),
    };
    show(await client.call('addHost', { body }), renderHost);
    return undefined;
  });
}

export function vmCommands(program: Command, runner: Runner): void {
  const vm = group(program, 'vm', 'Virtual machines on a host', ['vm list production']);
  const list = leaf(vm, 'list <host>', 'List the VMs of a host, asking it now', [
    'vm list production',
  ]);
  runner.run(list, async ({ client, showList }, [host = '']) => {
    showList((await client.call('listVms', { parameters: { host } })).items, renderVms);
    return undefined;
  });
}

function renderHosts(hosts: readonly HostAnswer[]): string {
  return renderTable(hosts, [
    { header: 'NAME', cell: (host) => host.name },
    { header: 'ADDRESS', cell: (host) => host.address },
    { header: 'STORAGE', cell: (host) => host.storageFolder },
    { header: 'SLOTS', cell: (host) => String(host.transferSlots), align: 'right' },
    { header: 'ID', cell: (host) => host.id },
  ]);
}

function renderHost(host: HostDetailAnswer): string {
  const says = host.description;
  const free = says?.storageFreeBytes ?? null;
  return renderDetails([
    ['Name', host.name],
    ['Id', host.id],
    ['Address', host.address],
    ['Storage', `${host.storageFolder}${free === null ? '' : ` (${formatBytes(free)} free)`}`],
    ['Kept free', keptFree(host)],
    ['Scratch', host.scratchFolder],
    ['Slots', String(host.transferSlots)],
    ['Tests at once', String(host.testSlots)],
    ['Added', formatTime(host.addedAt)],
    ...(says === null
      ? [['Reachable', `no: ${host.unreachableBecause ?? 'it does not answer'}`] as const]
      : [
          ['Hypervisor', `${says.hypervisorVersion}, emulator ${says.emulatorVersion}`] as const,
          ['Acceleration', says.acceleration] as const,
          ['Machine', `${count(says.cpuCount, 'CPU')}, ${formatBytes(says.memoryBytes)}`] as const,
          ['Networks', says.networks] as const,
        ]),
  ]);
}

function keptFree({ storageReserveBytes }: HostAnswer): string {
  if (storageReserveBytes !== null) return formatBytes(storageReserveBytes);
  return '5 % of the storage, at most 1.00 GiB';
}

function renderVms(vms: readonly VmAnswer[]): string {
  return renderTable(vms, [
    { header: 'NAME', cell: (vm) => vm.name },
    { header: 'POWER', cell: (vm) => vm.power },
    { header: 'UUID', cell: (vm) => vm.id },
  ]);
}
