/** Where the blocks that one thread has judged go: a server, over a connection of the thread's own, or an image's file. */
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import type { NbdConnection } from './connection.ts';
import { flushIfPossible } from './endpoint.ts';
import { TRANSMISSION } from './protocol.ts';

export interface BlockOutput {
  /** The most that one `write` may have. */
  readonly payloadBytesMax: number;
  /** Content belongs to the output until this settles. It begins at a block and ends at one or with the disk. */
  write(offsetBytes: number, content: Buffer): Promise<void>;
  /** Makes a range read as zeros. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Resolves when what this thread wrote will be part of what its session makes durable. */
  flush(): Promise<void>;
  /** Safe to repeat. */
  close(): void;
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

export function serverOutput(connection: NbdConnection): BlockOutput {
  const { maximumPayloadBytes, transmissionFlags } = connection.description;
  return {
    payloadBytesMax: maximumPayloadBytes,
    write: (offsetBytes, content) => connection.write(offsetBytes, content),
    zero: (offsetBytes, lengthBytes) =>
      (transmissionFlags & TRANSMISSION.writeZeroes) === 0
        ? writeZeros(connection, offsetBytes, lengthBytes)
        : connection.writeZeroes(offsetBytes, lengthBytes),
    flush: () => flushIfPossible(connection),
    close: () => connection.close(),
  };
}

async function writeZeros(
  connection: NbdConnection,
  offsetBytes: number,
  lengthBytes: number,
): Promise<void> {
  for (let at = 0; at < lengthBytes; at += BLOCK_BYTES) {
    const content = ZEROS.subarray(0, Math.min(BLOCK_BYTES, lengthBytes - at));
    await connection.write(offsetBytes + at, content);
  }
}
