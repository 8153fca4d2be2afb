import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import {
  type Command,
  type CommandResult,
  commandFile,
  type Processes,
} from '../../ports/processes.ts';
import { createVirsh } from './virsh.ts';

const signal = new AbortController().signal;
const VM = '11111111-2222-4333-8444-555555555555';

describe('virsh', () => {
  it('speaks to its daemon in C, without a shell', async () => {
    const commands: Command[] = [];
    await virshOn((command) => {
      commands.push(command);
      return said('x');
    }).run(['domstate', '--', VM], { signal });
    assert.deepEqual(commands[0]?.arguments, ['-q', '-c', 'qemu:///x', 'domstate', '--', VM]);
    assert.deepEqual(commands[0]?.env, { XDG_RUNTIME_DIR: '/r', LC_ALL: 'C' });
  });

  it('gives texts as files, in their places', async () => {
    const commands: Command[] = [];
    const virsh = virshOn((command) => {
      commands.push(command);
      return complained('error: Failed to define domain from x\nerror: XML error: no');
    });
    const args = ['backup-begin', '--', VM, { file: '<a/>' }, { file: '<b/>' }];
    await rejects('hypervisor-refused', virsh.run(args, { signal }), /XML error: no/);
    assert.deepEqual(commands[0]?.arguments.slice(3), [
      'backup-begin',
      '--',
      VM,
      commandFile(0),
      commandFile(1),
    ]);
    assert.deepEqual(commands[0]?.files, ['<a/>', '<b/>']);
  });

  const complaints: readonly (readonly [ErrorCode, string])[] = [
    [
      'host-unreachable',
      "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x': No such file or directory",
    ],
    [
      'host-unreachable',
      'error: Disconnected from qemu:///system due to end of file\nerror: failed to get domain',
    ],
    ['host-unreachable', 'error: End of file while reading data: Input/output error'],
    [
      'vm-missing',
      `error: failed to get domain 'x'\nerror: Domain not found: no domain with matching uuid '${VM}'`,
    ],
    [
      'vm-busy',
      'error: Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainBackupBegin)',
    ],
    [
      'guest-not-answering',
      'error: Guest agent is not responding: QEMU guest agent is not connected',
    ],
    [
      'guest-not-answering',
      "error: guest agent command timed out: agent command 'guest-fsfreeze-thaw' timed out",
    ],
    [
      'guest-not-answering',
      'error: guest agent replied with wrong id to guest-sync command: expected 1 got 2',
    ],
    ['hypervisor-refused', 'error: Requested operation is not valid: domain is not running'],
    [
      'hypervisor-refused',
      "error: Cannot access storage file '/Domain not found: x': End of file while reading data",
    ],
    ['hypervisor-refused', ''],
  ];
  for (const [code, stderr] of complaints) {
    it(`takes "${stderr.slice(0, 60)}" for ${code}`, async () => {
      await rejects(code, virshOn(() => complained(stderr)).run(['start', '--', VM], { signal }));
    });
  }

  it('believes that a VM is missing only when the list lacks it', async () => {
    const after = (list: CommandResult) =>
      virshOn((command) =>
        command.arguments.includes('list')
          ? list
          : complained(`error: failed to get domain '${VM}'`),
      ).run(['domstate', '--', VM], { signal });
    await rejects('vm-missing', after(said('99999999-2222-4333-8444-555555555555\n')));
    await rejects('hypervisor-refused', after(said(`${VM}\n`)));
    await rejects(
      'host-unreachable',
      after(complained('error: failed to connect to the hypervisor')),
    );
  });

  it('takes a hung daemon and a missing virsh for an unreachable host', async () => {
    for (const code of ['timed-out', 'command-missing'] as const) {
      const virsh = virshOn(() => {
        throw new UnderstudyError(code, {});
      });
      await rejects('host-unreachable', virsh.run(['domstate', '--', VM], { signal }));
    }
  });

  it('runs eight commands at once and the others in turn', async () => {
    let running = 0;
    let most = 0;
    const virsh = virshOn(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return said('');
    });
    const aborted = new AbortController();
    const calls = Array.from({ length: 40 }, () => virsh.run(['list'], { signal }));
    const given = virsh.run(['list'], { signal: aborted.signal });
    aborted.abort();
    await rejects('cancelled', given);
    await Promise.all(calls);
    assert.equal(most, 8);
    assert.equal(running, 0);
  });
});

function virshOn(answer: (command: Command) => CommandResult | Promise<CommandResult>) {
  const never = () => Promise.reject(new Error('not used'));
  const processes: Processes = {
    run: async (command) => answer(command),
    startDaemon: never,
    isAlive: never,
    end: never,
  };
  const environment = { XDG_RUNTIME_DIR: '/r' };
  return createVirsh({ uri: 'qemu:///x', hostName: 'h', processes, environment });
}

function said(stdout: string): CommandResult {
  return { exitCode: 0, signal: null, stdout, stderr: '' };
}

function complained(stderr: string): CommandResult {
  return { exitCode: 1, signal: null, stdout: '', stderr };
}

async function rejects(code: ErrorCode, call: Promise<unknown>, message = /./): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof UnderstudyError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}
