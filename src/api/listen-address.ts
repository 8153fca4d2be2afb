import { UnderstudyError } from '../domain/error.ts';

export type ListenAddress =
  | { readonly type: 'tcp'; readonly host: '127.0.0.1' | '::1'; readonly port: number }
  | { readonly type: 'unix'; readonly path: string };

/** The kernel's `sun_path` holds 108 bytes with its terminating zero (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * `127.0.0.1:PORT`, `[::1]:PORT`, `localhost:PORT` or `unix:/path`. Port 0 lets the kernel choose.
 * Throws `invalid-request`, also for addresses beyond this machine: the token would travel in the clear.
 */
export function parseListenAddress(text: string): ListenAddress {
  if (text.startsWith('unix:')) return unixAddress(text.slice('unix:'.length));
  const match = /^(127\.0\.0\.1|\[::1\]|localhost):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) {
    throw refused(`${text} is neither a loopback address with a port nor unix:PATH`);
  }
  return { type: 'tcp', host: match[1] === '[::1]' ? '::1' : '127.0.0.1', port };
}

/** As clients write it: `http://127.0.0.1:7070` or `unix:/path`. */
export function formatServerAddress(address: ListenAddress): string {
  if (address.type === 'unix') return `unix:${address.path}`;
  const host = address.host === '::1' ? '[::1]' : address.host;
  return `http://${host}:${address.port}`;
}

function unixAddress(path: string): ListenAddress {
  if (!path.startsWith('/') || path.includes('\0')) {
    throw refused('the path of a unix socket must be absolute: unix:/PATH');
  }
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    const limit = `a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes`;
    throw refused(`${limit}, and ${path} has more: name a shorter one with --listen unix:/PATH`);
  }
  return { type: 'unix', path };
}

function refused(reason: string): UnderstudyError {
  return new UnderstudyError('invalid-request', { reason });
}
