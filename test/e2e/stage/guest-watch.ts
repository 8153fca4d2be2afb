/** Listens to libvirt for what must never happen to a production VM. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { PrivateHost } from '../../../src/rig/private-host.ts';

export interface PauseWatch extends AsyncDisposable {
  /** Every suspension of the VM and every I/O error of its disks since the watch began, as virsh tells it; deaf once the daemon ended. */
  seen(): readonly string[];
}

export async function watchPauses(host: PrivateHost, vmId: string): Promise<PauseWatch> {
  const args = ['-c', host.uri, 'event', '--domain', vmId, '--all', '--loop'];
  const child = spawn('virsh', args, {
    env: { ...process.env, ...host.env, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const ended = once(child, 'close');
  await once(child, 'spawn');
  return {
    seen: () => text.split('\n').filter((line) => /Suspended|io-error/.test(line)),
    async [Symbol.asyncDispose]() {
      child.kill();
      await ended;
    },
  };
}
