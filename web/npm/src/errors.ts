// Errors as the package throws them.

/** What a request came to nothing by: a RES error, of the gateway, of a service, or of the client itself. */
export class ResError<Data = unknown> extends Error {
  /**
   * A RES error code: a gateway's (`system.accessDenied`), a service's (`session.wrongUsernamePassword`),
   * or the client's own: `system.timeout`, `system.connectionError`, `client.superseded` (a later command
   * made it pointless), `client.closed`, `client.invalid` (an unusable address, id or name),
   * `client.notLoaded` (the WebAssembly module), `client.noBrowser` (there is nothing to connect from, as
   * on a server that renders pages).
   */
  readonly code: string;
  readonly data: Data | undefined;

  constructor(code: string, message?: string, data?: Data) {
    super(message || code);
    this.name = "ResError";
    this.code = code;
    this.data = data;
  }
}

/** The error that `thrown` is, or says. */
export const asError = (thrown: unknown): ResError => {
  if (thrown instanceof ResError) return thrown;
  const { code, message, data } = (thrown ?? {}) as Partial<ResError>;
  return new ResError(code ?? "client.broken", message ?? String(thrown), data);
};

/** What a page's own function throws is its own affair: it is reported, and keeps nothing else from happening. */
export const report = (thrown: unknown): void => {
  if (typeof reportError === "function") reportError(thrown);
  else queueMicrotask(() => { throw thrown; });
};
