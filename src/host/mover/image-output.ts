/**
 * An image's file as the target of a transfer. The session opens and completes it; its threads write to it through the same
 * descriptor, each part at its own place.
 */
import { writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { ImageFile } from '../../ports/mover.ts';
import {
  FILLED_BYTES_MAX,
  FilledImage,
  type ImagePart,
  sizeToFill,
} from '../qcow2/filled-image.ts';
import { CLUSTER_BYTES } from '../qcow2/layout.ts';
import type { BlockOutput } from './block-output.ts';
import { closeFile } from './close-file.ts';
import { imageError, invalidEndpoint, openingError } from './errors.ts';
import { WriteTurn } from './write-turn.ts';

/** What another thread needs to write to the same image. */
export type SharedImage = {
  readonly imagePath: string;
  /** Of its disk. */
  readonly sizeBytes: number;
  /** Open for as long as any thread writes. */
  readonly descriptor: number;
  readonly memory: SharedArrayBuffer;
  readonly turn: SharedArrayBuffer;
};

export class ImageInFile {
  readonly #file: FileHandle;
  readonly #image: FilledImage;
  readonly #turn = new WriteTurn();
  readonly #shared: SharedImage;

  private constructor(
    file: FileHandle,
    image: FilledImage,
    about: ImageFile & { sizeBytes: number },
  ) {
    this.#file = file;
    this.#image = image;
    const turn = this.#turn.memory;
    this.#shared = { ...about, descriptor: file.fd, memory: image.memory, turn };
  }

  /** Makes the image empty. Throws `invalid-endpoint` when it is none that can be filled with so much. */
  static async open({ imagePath }: ImageFile, contentBytes: number): Promise<ImageInFile> {
    const invalid = (reason: string) => invalidEndpoint({ imagePath }, reason);
    const file = await open(imagePath, 'r+').catch((error: unknown) => {
      throw openingError(imagePath, error);
    });
    try {
      const header = Buffer.alloc(CLUSTER_BYTES);
      const { bytesRead } = await file.read(header, 0, header.length, 0);
      const sizeBytes = sizeToFill(header.subarray(0, bytesRead));
      if (sizeBytes === null) throw invalid('it is no image of ours that stands alone');
      if (sizeBytes < contentBytes) {
        throw invalid(`its disk has ${sizeBytes} bytes, and ${contentBytes} were asked for`);
      }
      if (sizeBytes > FILLED_BYTES_MAX) {
        throw invalid('its disk is too large to be filled in a file');
      }
      const opened = new ImageInFile(file, new FilledImage(sizeBytes), { imagePath, sizeBytes });
      await opened.#empty();
      return opened;
    } catch (error) {
      await closeFile(file);
      throw imageError(imagePath, error);
    }
  }

  get shared(): SharedImage {
    return this.#shared;
  }

  /** For the calling thread, which has more to do than to wait for a disk. */
  get output(): BlockOutput {
    const { imagePath } = this.#shared;
    return outputOf(this.#image, this.#turn, imagePath, (part) => this.#put(part));
  }

  /** Makes all that was written the image's, and durable. No thread may be at work. */
  async complete(): Promise<void> {
    try {
      await this.#putLastParts();
      await this.#file.datasync();
    } catch (error) {
      throw imageError(this.#shared.imagePath, error);
    }
  }

  close(): Promise<void> {
    return closeFile(this.#file);
  }

  /** The table that points to everything goes first, and comes back as zeros. */
  async #empty(): Promise<void> {
    await this.#file.truncate(this.#image.l1Offset);
    await this.#file.truncate(this.#image.emptyBytes);
    await this.#putLastParts();
  }

  async #putLastParts(): Promise<void> {
    for (const part of this.#image.lastParts()) await this.#put(part);
  }

  async #put({ offset, bytes }: ImagePart): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += (await this.#file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
    }
  }
}

/** For a thread that has nothing else to do: it writes at once, which costs less than to hand it over. */
export function threadOutput(shared: SharedImage): BlockOutput {
  const { imagePath, sizeBytes, descriptor, memory, turn } = shared;
  const image = new FilledImage(sizeBytes, memory);
  return outputOf(image, new WriteTurn(turn), imagePath, ({ offset, bytes }) => {
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(descriptor, bytes, at, bytes.length - at, offset + at);
    }
  });
}

function outputOf(
  image: FilledImage,
  turn: WriteTurn,
  imagePath: string,
  put: (part: ImagePart) => Promise<void> | void,
): BlockOutput {
  return {
    payloadBytesMax: Number.POSITIVE_INFINITY,
    write: async (offsetBytes, content) => {
      const parts = image.lay(offsetBytes, content);
      try {
        await turn.run(async () => {
          for (const part of parts) await put(part);
        });
      } catch (error) {
        throw imageError(imagePath, error);
      }
    },
    // Nothing is laid twice, so that it reads zeros already.
    zero: async () => {},
    flush: async () => {},
    close: () => turn.close(),
  };
}
