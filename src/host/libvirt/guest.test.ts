import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { vmId } from '../../domain/ids.ts';
import { scriptedVirsh } from './fixtures/fixtures.ts';
import { askGuest, parseAddresses } from './guest.ts';

const signal = new AbortController().signal;
const id = vmId('11111111-2222-4333-8444-555555555555');

describe('a guest', () => {
  it('is believed only as far as its addresses parse', () => {
    const table = [
      ' lo         00:00:00:00:00:00    ipv4         127.0.0.1/8',
      ' lo         -                    ipv6         ::1/128',
      ' eth 0 ipv4 52:54:00:aa:bb:01    ipv4         10.0.0.5/24',
      ' eth0       52:54:00:aa:bb:01    ipv6         fe80::1/64',
      ' eth0       52:54:00:aa:bb:01    ipv6         2001:db8::5/64',
      ' eth0       52:54:00:aa:bb:01    ipv4         10.0.0.5/24',
      ' eth0       x                    ipv4         999.1.1.1/24',
      ' eth0       N/A                  N/A          N/A',
    ].join('\n');
    assert.deepEqual(parseAddresses(table), ['10.0.0.5', '2001:db8::5']);
  });

  it('that is silent, hung or off is a result', async () => {
    const hung = new UnderstudyError('host-unreachable', {}, new UnderstudyError('timed-out', {}));
    const silent = [
      new UnderstudyError('guest-not-answering', {}),
      new UnderstudyError('hypervisor-refused', {}),
      hung,
    ];
    for (const error of silent) {
      const virsh = scriptedVirsh({
        'qemu-agent-command': () => {
          throw error;
        },
        domifaddr: ' vnet0 52:54:00:aa:bb:01 ipv4 192.168.122.7/24',
      });
      const report = await askGuest(virsh, { vmId: id, deadlineMs: 1500 }, { signal });
      assert.deepEqual(report, {
        agentAnswers: false,
        hasAgentChannel: true,
        addresses: ['192.168.122.7'],
      });
    }
  });

  it('without a channel to its agent is told apart: nobody need wait for it', async () => {
    const reason = 'argument unsupported: QEMU guest agent is not configured';
    const virsh = scriptedVirsh({
      'qemu-agent-command': () => {
        throw new UnderstudyError('hypervisor-refused', { action: 'ask the agent', reason });
      },
      domifaddr: '',
    });
    const report = await askGuest(virsh, { vmId: id, deadlineMs: 1000 }, { signal });
    assert.deepEqual(report, { agentAnswers: false, hasAgentChannel: false, addresses: [] });
  });

  it('on a host that is gone is an error', async () => {
    const virsh = scriptedVirsh({
      'qemu-agent-command': () => {
        throw new UnderstudyError('host-unreachable', { host: 'h', reason: 'x' });
      },
    });
    await assert.rejects(
      askGuest(virsh, { vmId: id, deadlineMs: 1000 }, { signal }),
      /does not answer/,
    );
  });
});
