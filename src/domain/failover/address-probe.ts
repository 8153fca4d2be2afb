/**
 * Where the guest of a VM answers by its address, for VMs without a guest agent (and beside it): a test's probe
 * (test-failover/probe.ts) with the address in it, because on its production network there is nobody to ask for that.
 *
 *   tcp:10.0.0.5:22                  a connection is accepted
 *   http:shop.example:80/health=204  answered with this status; without one, with 200 to 399
 *   tcp:[fd00::5]:22                 by IPv6
 */
import { UnderstudyError } from '../error.ts';
import { formatKind, type ProbeKind, parseKind } from '../test-failover/probe.ts';

export type AddressProbe = Extract<ProbeKind, { readonly type: 'tcp' | 'http' }> & {
  /** An IP address or a host name; IPv6 without brackets. */
  readonly address: string;
};

/** Per VM: each of them is asked up to four times a second. */
export const ADDRESS_PROBES_MAX = 8;

const FORM =
  /^(tcp|http):(?:\[([0-9A-Fa-f:.]{3,45})\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):(\d.*)$/s;

/** Throws `invalid-request` with what is wrong and how it is written. */
export function parseAddressProbe(text: string): AddressProbe {
  const [, type, bracketed, plain, rest] = FORM.exec(text) ?? [];
  const address = bracketed ?? plain;
  // What stands in brackets is IPv6: at least two colons.
  if (address === undefined || (bracketed !== undefined && !/:.*:/.test(bracketed))) {
    const forms = 'tcp:10.0.0.5:22, tcp:[fd00::5]:22, http:10.0.0.5:80/health=204';
    const reason = `The address ${text.slice(0, 120)} cannot be read (forms: ${forms})`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const kind = parseKind(text, `${type}:${rest}`);
  if (kind.type !== 'tcp' && kind.type !== 'http') throw new Error(`${kind.type} has no address`);
  return { ...kind, address };
}

export function formatAddressProbe({ address, ...kind }: AddressProbe): string {
  const shown = address.includes(':') ? `[${address}]` : address;
  return formatKind(kind).replace(':', `:${shown}:`);
}
