/** `--keep`: after the story everything runs on, with something to play with, until Ctrl-C. */
import { once } from 'node:events';
import { join, relative } from 'node:path';
import { shellArgument } from '../../domain/shell-argument.ts';
import { type Scene, standbyName } from './scene.ts';

/** Protects the VM that took over, back to the host it came from: a replica that the audience may fail over itself. */
export async function protectBack({ report, operator }: Scene, vmName: string): Promise<void> {
  report.act('Protect it in the other direction, for you to play with');
  const places = ['--source', 'recovery', '--target', 'production', '--vm', vmName];
  const names = ['--suffix', standbyName.slice(vmName.length), '--no-schedule'];
  await operator.type(['job', 'create', 'back', ...places, ...names], () => false);
  await operator.replicate('back');
  await operator.type(['status']);
}

/** Tells how to look around, and returns when that is over. `url`: where the VM answers that took over, if it did. */
export async function keepOpen(scene: Scene, url: string | null): Promise<void> {
  const { report, server, production, recovery, signal } = scene;
  const program = join(import.meta.dirname, '..', '..', '..', 'bin', 'understudy.js');
  const understudy = (...args: string[]): string =>
    ['node', relative(process.cwd(), program), ...args].map(shellArgument).join(' ');
  const list = (uri: string): string =>
    ['virsh', '-c', uri, 'list', '--all'].map(shellArgument).join(' ');
  const lines = [
    `cd ${shellArgument(process.cwd())}`,
    `export UNDERSTUDY_DATA=${shellArgument(server.dataFolder)}`,
    understudy('status'),
    understudy('operation', 'list'),
    ...(url === null ? [] : [understudy('job', 'run', 'back')]),
    ...(url === null ? [] : [understudy('failover', standbyName, '--fence', 'shutdown')]),
    understudy('--help'),
    ...(url === null ? [] : [`curl ${url}/`]),
    ...[production, recovery].map((host) => list(host.uri)),
  ];
  report.act('Look around. In another terminal:');
  report.output(lines.join('\n'));
  report.say('everything runs until Ctrl-C here, which ends and removes it');
  if (!signal.aborted) await once(signal, 'abort');
}
