import type { Catalog } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostDirectory } from '../ports/host-directory.ts';
import type { Mover } from '../ports/mover.ts';

/** The world as operations see it. The clock is for durations inside steps; decisions use journaled time. */
export type EnginePorts = {
  readonly catalog: Catalog;
  readonly hosts: HostDirectory;
  readonly mover: Mover;
  readonly clock: Clock;
};
