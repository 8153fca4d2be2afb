/** What a job's network map says of networks that none of its VMs has: most likely a slip of the pen. */
import type { PreflightFinding } from './preflight.ts';

/** @param networks of the VMs' NICs, as `network:lan` or `user`; the map may name one as `lan`. */
export function unusedNetworkFindings(
  networkMap: Readonly<Record<string, string | null>>,
  networks: readonly string[],
): readonly PreflightFinding[] {
  const known = new Set(networks.flatMap((network) => [network, nameOf(network)]));
  const plugged = [...new Set(networks)].sort().join(', ') || 'none';
  return Object.keys(networkMap)
    .filter((network) => !known.has(network))
    .map((network) => ({
      severity: 'warns',
      element: `network ${network}`,
      message: `No NIC is plugged into it, so that mapping it does nothing. The networks of the NICs: ${plugged}.`,
    }));
}

function nameOf(network: string): string {
  return network.slice(network.indexOf(':') + 1);
}
