/** The last argument of every call into the world. An aborted call rejects with `cancelled` unless its port says otherwise. */
export type CallOptions = { readonly signal: AbortSignal };
