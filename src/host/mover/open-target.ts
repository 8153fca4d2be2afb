/** The target of a transfer as its session has it open, whatever it is. */
import type { CallOptions } from '../../ports/call.ts';
import type { BlockEndpoint, TransferTarget } from '../../ports/mover.ts';
import { type BlockOutput, serverOutput } from './block-output.ts';
import { flushIfPossible, hasMultipleConnections, openEndpoint } from './endpoint.ts';
import { ImageInFile, type SharedImage } from './image-output.ts';

export interface OpenTarget {
  /** Of the thread that opened it. */
  readonly output: BlockOutput;
  /** What other threads make outputs of. */
  readonly forThreads: BlockEndpoint | SharedImage;
  /** False: what one thread wrote need not be seen or flushed by another. */
  readonly allowsThreads: boolean;
  /** Makes durable what all threads wrote. None may be at work. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

/** Throws `invalid-endpoint` when it cannot be written to, and what connecting does. */
export async function openTarget(
  target: TransferTarget,
  sizeBytes: number,
  options: CallOptions,
): Promise<OpenTarget> {
  return 'imagePath' in target
    ? openImage(await ImageInFile.open(target, sizeBytes))
    : await openServer(target, sizeBytes, options);
}

function openImage(image: ImageInFile): OpenTarget {
  return {
    output: image.output,
    forThreads: image.shared,
    allowsThreads: true,
    settle: () => image.complete(),
    close: () => image.close(),
  };
}

async function openServer(
  endpoint: BlockEndpoint,
  sizeBytes: number,
  options: CallOptions,
): Promise<OpenTarget> {
  const use = { endpoint, use: 'target', sizeBytes, metaContexts: [] } as const;
  const connection = await openEndpoint(use, options);
  return {
    output: serverOutput(connection),
    forThreads: endpoint,
    allowsThreads: hasMultipleConnections(connection),
    settle: () => flushIfPossible(connection),
    close: async () => connection.close(),
  };
}
