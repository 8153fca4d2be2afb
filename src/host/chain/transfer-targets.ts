/**
 * How images are written to. One that is filled from nothing is named to the mover, which writes its file; others, and those
 * too large for that, are served: only QEMU can change what an image holds, or lay it over another.
 */
import type { CallOptions } from '../../ports/call.ts';
import type { TransferTarget } from '../../ports/mover.ts';
import { FILLED_BYTES_MAX } from '../qcow2/filled-image.ts';
import type { StoreContext } from './context.ts';
import type { ServedImage } from './image-server.ts';

export type WritableImage = {
  readonly exportName: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** Nothing of what it may hold is wanted: whoever writes to it writes all of it. */
  readonly isFilled: boolean;
  /** Of a served one: whoever ends its session makes it durable, and makes anew what a power cut may have taken before. */
  readonly isFlushedAtEnd: boolean;
};

/**
 * In the order of the images. `session` names the server of those that need one. Throws `image-in-use` when a program may
 * write to one, and what `ImageServer.serve` does.
 */
export async function transferTargets(
  { server, images: commands }: StoreContext,
  session: string,
  images: readonly WritableImage[],
  options: CallOptions,
): Promise<readonly TransferTarget[]> {
  const served = images.filter((image) => !isFilledInFile(image));
  // Also where none is: one of an earlier plan may still hold the files.
  if (served.length === 0) await server.stop(session, options);
  const endpoints =
    served.length === 0
      ? []
      : await server.serve(
          { name: session, images: served.map(servedImage), scratchFolder: null },
          options,
        );
  const targets: TransferTarget[] = [];
  for (const image of images) {
    const endpoint = endpoints[served.indexOf(image)];
    if (endpoint === undefined) await commands.requireUnused(image.path, options);
    targets.push(endpoint ?? { imagePath: image.path });
  }
  return targets;
}

function isFilledInFile({ isFilled, sizeBytes }: WritableImage): boolean {
  return isFilled && sizeBytes <= FILLED_BYTES_MAX;
}

function servedImage({ exportName, path, isFlushedAtEnd }: WritableImage): ServedImage {
  return { exportName, path, isWritable: true, isFlushedAtEnd };
}
