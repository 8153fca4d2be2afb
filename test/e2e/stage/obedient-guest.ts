/**
 * The smallest guest that follows a shutdown: a boot sector that waits for the power button and then switches the
 * machine off, as an operating system does. It writes to no disk, so that every byte there stays the test's.
 *
 * The registers are those of the `pc` machine, whose firmware puts the ACPI block at port 0x600.
 */
import type { PrivateHost } from '../../../src/rig/private-host.ts';
import { untilTrue } from '../../../src/rig/until.ts';

/** Of QEMU's PIIX4: what may interrupt, where the power button is bit 8. */
const ENABLE_PORT = '0x602';
const BUTTON_ENABLED = '0x0100';

const PROGRAM = [
  [0xfa], //                   cli
  [0xba, 0x02, 0x06], //       mov dx, 0x602    which events there are:
  [0xb8, 0x00, 0x01], //       mov ax, 0x100    the power button
  [0xef], //                   out dx, ax
  [0xfb], //                   sti
  [0xf4], //             wait: hlt              until the timer ticks
  [0xba, 0x00, 0x06], //       mov dx, 0x600    which events came
  [0xed], //                   in ax, dx
  [0xf6, 0xc4, 0x01], //       test ah, 1
  [0x74, 0xf6], //             jz wait
  [0xba, 0x04, 0x06], //       mov dx, 0x604    sleep: soft off
  [0xb8, 0x00, 0x20], //       mov ax, 0x2000
  [0xef], //                   out dx, ax
  [0xeb, 0xed], //             jmp wait
].flat();

/** The first 512 bytes of its first disk. */
export function obedientBootSector(): Buffer {
  const sector = Buffer.alloc(512);
  sector.set(PROGRAM);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/** Until the firmware has come to it; a button that is pressed earlier is not heard. */
export async function untilObedient(host: PrivateHost, vmId: string): Promise<void> {
  const look = ['--domain', vmId, '--cmd', `i /h ${ENABLE_PORT}`];
  await untilTrue('the guest listens to its power button', async () =>
    (await host.virsh(['qemu-monitor-command', '--hmp', ...look])).includes(BUTTON_ENABLED),
  );
}
