/** What protecting a VM, or running its replica elsewhere, would disturb or lose. */
export type PreflightFinding = {
  /** `blocks`: the job cannot work. `warns`: it works, with this consequence. */
  readonly severity: 'blocks' | 'warns';
  /** What it is about, e.g. `disk vdb`, `device hostdev`, `network lan`. */
  readonly element: string;
  /** What is the matter, and the exact fix where there is one. */
  readonly message: string;
};
