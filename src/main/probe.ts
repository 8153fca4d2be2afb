/**
 * Asks one question from the network that it is started in, and prints the answer as JSON: `{ passed, why }`. A program
 * of its own, because a process is in one network namespace only.
 *
 *   node probe.ts '{"type":"http","address":"10.0.0.5","port":80,"path":"/","status":null,"limitMs":5000}'
 */
import type { AddressProbe } from '../domain/failover/address-probe.ts';
import { askAddress } from '../host/libvirt/ask-address.ts';

const { limitMs, ...probe } = JSON.parse(process.argv[2] ?? '') as AddressProbe & {
  readonly limitMs: number;
};
const { signal } = new AbortController();
const answer = await askAddress({ probe, limitMs }, { signal });
process.stdout.write(JSON.stringify(answer), () => process.exit(0));
