// Loads the WebAssembly module, and knows whether there is a browser. Must not depend on clients
// and sessions.

import { ResError } from "./errors.js";
import load from "./relogin.js";

/** A source of the WebAssembly module, in place of the file beside the package's script. */
export type ModuleSource = URL | string | Request | Response | BufferSource | WebAssembly.Module;

let source: ModuleSource | undefined;
let loading: Promise<void> | undefined;
let isLoaded = false;

/**
 * Loads the WebAssembly module from `from`: for bundlers that do not find it by themselves, and for
 * pages whose Content-Security-Policy requires another way. Call it before anything else; without
 * it the first client or session loads the file beside the package's script. Does nothing where
 * there is no browser. Rejected with `client.notLoaded`.
 */
export const init = (from?: ModuleSource): Promise<void> => {
  if (from !== undefined && !isLoaded) {
    source = from;
    loading = undefined;
  }
  return hasBrowser() ? loaded() : Promise.resolve();
};

/** Loads the module once. After a failure, the next call tries again. */
export const loaded = (): Promise<void> => {
  loading ??= attempt();
  return loading;
};

const attempt = async (): Promise<void> => {
  const from = source;
  // The body of a response can be read once.
  if (from instanceof Response) source = undefined;
  try {
    await load(from === undefined ? undefined : { module_or_path: from });
    isLoaded = true;
  } catch (thrown) {
    loading = undefined;
    const why = (thrown as Error | undefined)?.message ?? String(thrown);
    throw new ResError("client.notLoaded", `the WebAssembly module did not load: ${why}`);
  }
};

/**
 * Whether this runs in a browser. Servers that render pages are not, nor are jsdom and happy-dom,
 * which have no database: without that, no session can be kept.
 */
export const hasBrowser = (): boolean =>
  typeof indexedDB === "object" && typeof WebSocket === "function";

/** The error for calls where there is no browser. */
export const noBrowser = (): ResError =>
  new ResError("client.noBrowser", "this works in browsers only");

/**
 * Milliseconds until the client is downloaded again after `failures` failures: exponential, with
 * jitter. Reconnects are not its business: the client has a back-off of its own.
 */
export const backoff = (failures: number): number =>
  Math.min(30_000, 500 * 2 ** Math.min(failures, 8)) * (0.75 + Math.random() / 2);
