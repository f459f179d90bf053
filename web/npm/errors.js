// Errors as the package throws them.

/** What a request came to nothing by: a RES error, of the gateway, of a service, or of the client itself. */
export class ResError extends Error {
  constructor(code, message, data) {
    super(message || code);
    this.name = "ResError";
    this.code = code;
    this.data = data;
  }
}

/** The error that `thrown` is, or says. */
export const asError = (thrown) => {
  if (thrown instanceof ResError) return thrown;
  return new ResError(thrown?.code ?? "client.broken", thrown?.message ?? String(thrown), thrown?.data);
};

/** What a page's own function throws is its own affair: it is reported, and keeps nothing else from happening. */
export const report = (thrown) => {
  if (typeof reportError === "function") reportError(thrown);
  else queueMicrotask(() => { throw thrown; });
};
