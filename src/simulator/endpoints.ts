/** The network of block endpoints that all hosts of a world share. */
import { UnderstudyError } from '../domain/error.ts';
import type { HostId } from '../domain/ids.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { Token } from './image.ts';

/** What an endpoint shows of a disk. */
export type BlockView = {
  readonly hostId: HostId;
  readonly sizeBytes: () => number;
  readonly read: (index: number) => Token;
  readonly allocated: () => readonly number[];
  /** Blocks of a meta context, ascending; null when there is no such context. */
  readonly changed: (metaContext: string) => readonly number[] | null;
  /** Null: read-only. */
  readonly write: ((index: number, token: Token) => void) | null;
};

export type Endpoints = {
  /** Serves a view under a fresh address that contains the label. */
  serve(label: string, view: BlockView): BlockEndpoint;
  /** Closing what is closed is success. */
  close(endpoint: BlockEndpoint): void;
  /** Throws `connection-lost` when nothing is served there, `invalid-endpoint` for an address of another world. */
  view(endpoint: BlockEndpoint): BlockView;
  /** Closes everything that a host serves, as a power loss does. */
  closeHost(hostId: HostId): void;
  /** The addresses that are served now. */
  addresses(): readonly string[];
};

const EXPORT_NAME = 'disk';

export function createEndpoints(): Endpoints {
  const served = new Map<string, BlockView>();
  let count = 0;
  return {
    serve: (label, view) => {
      count += 1;
      const path = `sim:${view.hostId}/${label}/${count}`;
      served.set(path, view);
      return { address: { type: 'unix', path }, exportName: EXPORT_NAME };
    },
    close: ({ address }) => {
      if (address.type === 'unix') served.delete(address.path);
    },
    view: ({ address }) => {
      if (address.type !== 'unix' || !address.path.startsWith('sim:')) {
        const endpoint = address.type === 'unix' ? address.path : `${address.host}:${address.port}`;
        throw new UnderstudyError('invalid-endpoint', { endpoint, reason: 'not simulated' });
      }
      const view = served.get(address.path);
      if (view !== undefined) return view;
      const reason = 'nothing is served there';
      throw new UnderstudyError('connection-lost', { endpoint: address.path, reason });
    },
    closeHost: (hostId) => {
      for (const [path, view] of [...served]) if (view.hostId === hostId) served.delete(path);
    },
    addresses: () => [...served.keys()],
  };
}
