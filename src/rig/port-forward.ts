/** Makes a TCP port of a guest with user networking reachable on the loopback interface. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { PrivateHost } from './private-host.ts';

const attempts = 5;

/**
 * Forwards a free loopback port to the guest, through QEMU's monitor: libvirt 9.0 has no XML for it. Works for any
 * running domain whose first interface is of type `user`, so for replicas too. The forwarding ends with that QEMU;
 * each call makes another one.
 *
 * @returns the base URL, such as `http://127.0.0.1:40123`. With a private network it is valid inside the room only.
 * @throws Error when the domain does not run or has no user network.
 */
export async function forwardGuestPort({
  host,
  domain,
  guestPort = 8080,
  port,
  signal,
}: {
  host: PrivateHost;
  /** UUID (or name). */
  domain: string;
  guestPort?: number;
  /** Of the loopback interface; default: a free one. */
  port?: number;
  signal?: AbortSignal | undefined;
}): Promise<string> {
  let complaint = '';
  for (let attempt = 0; attempt < attempts; attempt++) {
    const own = port ?? (await findFreePort());
    // hostnet0 is libvirt's name for the first interface.
    const command = `hostfwd_add hostnet0 tcp:127.0.0.1:${own}-:${guestPort}`;
    const args = ['qemu-monitor-command', '--hmp', '--domain', domain, '--cmd', command];
    // The monitor reports failure in its output; another program may have taken the port in the meantime.
    complaint = (await host.virsh(args, { signal })).trim();
    if (complaint === '') return `http://127.0.0.1:${own}`;
  }
  throw new Error(`QEMU on host ${host.name} refused to forward a port: ${complaint}`);
}

export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('No TCP port to be had');
  return address.port;
}
