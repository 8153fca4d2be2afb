/** Where a guest is on its isolated network, and where to stand to ask it: pure. */

export type GuestAddress = { readonly address: string; readonly prefix: number };

const ADDRESSES_MAX = 16;

/** Rows of `virsh domifaddr` end in `ipv4 10.0.0.5/24`; what stands before is any text the guest likes. */
export function parseGuestAddresses(table: string): readonly GuestAddress[] {
  const found = new Map<string, GuestAddress>();
  for (const line of table.split('\n')) {
    const [, address = '', prefix] = /\sipv4\s+(\d[\d.]{6,14})\/(\d{1,2})\s*$/i.exec(line) ?? [];
    const bits = toNumber(address);
    if (bits === null || Number(prefix) > 32 || /^(?:127|0)\.|^169\.254\./.test(address)) continue;
    found.set(address, { address, prefix: Number(prefix) });
  }
  return [...found.values()].slice(0, ADDRESSES_MAX);
}

/** Another address of the guest's own network, so that it answers without a router; null when there is none. */
export function neighbourOf({ address, prefix }: GuestAddress): string | null {
  const own = toNumber(address);
  if (own === null || prefix < 1 || prefix > 31) return null;
  const size = 2 ** (32 - prefix);
  const network = Math.floor(own / size) * size;
  if (prefix === 31) return toText(own === network ? own + 1 : network);
  const last = network + size - 2;
  // Neither the network's own address nor the one for all of it.
  const chosen = own === last ? last - 1 : last;
  return chosen > network ? toText(chosen) : null;
}

function toNumber(address: string): number | null {
  const parts = address.split('.').map((part) => (/^\d{1,3}$/.test(part) ? Number(part) : 256));
  if (parts.length !== 4 || parts.some((part) => part > 255)) return null;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

function toText(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
