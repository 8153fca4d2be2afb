/**
 * Who may speak to the server: whoever holds the token, by one of the server's own names, and not from
 * somebody else's web page. The name check stops DNS rebinding: a page whose name was made to resolve to
 * 127.0.0.1 still sends its own name in `Host`.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { UnderstudyError } from '../domain/error.ts';

const OWN_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Throws `origin-refused` or `token-refused`. */
export type AccessCheck = (headers: IncomingHttpHeaders) => void;

export function accessCheck({ token }: { readonly token: string }): AccessCheck {
  const expected = digest(token);
  return (headers) => {
    requireOwnName(headers.host);
    requireSameOrigin(headers);
    const given = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(headers.authorization ?? '')?.[1];
    // Digests have one length, so that comparing them tells nothing about the token's.
    if (!timingSafeEqual(digest(given ?? ''), expected) || given === undefined) {
      throw new UnderstudyError('token-refused');
    }
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function requireOwnName(host: string | undefined): void {
  const name = (host ?? '').toLowerCase().replace(/:\d{1,5}$/, '');
  if (OWN_NAMES.has(name)) return;
  throw new UnderstudyError('origin-refused', { reason: 'its Host header is not this server' });
}

/** Programs send no `Origin`; a browser does for everything but plain navigation. */
function requireSameOrigin(headers: IncomingHttpHeaders): void {
  const site = headers['sec-fetch-site'];
  const isForeignSite = site !== undefined && site !== 'same-origin' && site !== 'none';
  const isForeignOrigin =
    headers.origin !== undefined && headers.origin !== `http://${headers.host}`;
  if (!isForeignSite && !isForeignOrigin) return;
  throw new UnderstudyError('origin-refused', { reason: 'it comes from a page of another site' });
}
