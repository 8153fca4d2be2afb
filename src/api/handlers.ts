import type { ENDPOINTS, EndpointName } from '../contract/endpoints.ts';
import type { PreflightFindingAnswer } from '../contract/job.ts';
import type { Answer, ParsedBody, ParsedQuery } from '../contract/routes.ts';
import type { UnderstudyError } from '../domain/error.ts';
import type { CommandOptions } from '../ports/controller.ts';

type NamesIn<Path extends string> = Path extends `${string}:${infer Rest}`
  ? Rest extends `${infer Name}/${infer After}`
    ? Name | NamesIn<After>
    : Rest
  : never;

export type PathParameters<Name extends EndpointName> = Readonly<
  Record<NamesIn<(typeof ENDPOINTS)[Name]['path']>, string>
>;

/** A request whose every part was parsed by the contract. */
export type ParsedRequest<Name extends EndpointName> = {
  readonly parameters: PathParameters<Name>;
  readonly query: ParsedQuery<Name>;
  readonly body: ParsedBody<Name>;
  readonly options: CommandOptions;
};

/** Expected, and more than an error can carry. */
export type Refusal = {
  readonly refusal: UnderstudyError;
  readonly findings: readonly PreflightFindingAnswer[];
};

export type Handlers = {
  readonly [Name in EndpointName]: (
    request: ParsedRequest<Name>,
  ) => Promise<Answer<Name> | Refusal>;
};
