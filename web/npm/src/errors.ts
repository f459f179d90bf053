// The errors that the package throws. Must not depend on anything else of it.

/** Why a request failed: a RES error of the gateway, of a service, or of the client itself. */
export class ResError<Data = unknown> extends Error {
  /**
   * A RES error code of the gateway (`system.accessDenied`), of a service
   * (`session.wrongUsernamePassword`), or of the client: `system.timeout`,
   * `system.connectionError`, `client.superseded` (by a later command), `client.closed`,
   * `client.invalid` (an unusable address, id or name), `client.notLoaded` (the WebAssembly
   * module), `client.noBrowser` (there is no browser, as on a server that renders pages).
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

/** The error for requests whose connection is lost. */
export const connectionLost = (): ResError =>
  new ResError("system.connectionError", "the connection was lost");

/** Converts what was thrown to a `ResError`. */
export const asError = (thrown: unknown): ResError => {
  if (thrown instanceof ResError) return thrown;
  const { code, message, data } = (thrown ?? {}) as Partial<ResError>;
  return new ResError(code ?? "client.broken", message ?? String(thrown), data);
};

/**
 * Reports what a function of the page has thrown, as an uncaught exception that stops nothing else.
 */
export const report = (thrown: unknown): void => {
  if (typeof reportError === "function") reportError(thrown);
  else queueMicrotask(() => { throw thrown; });
};
