// The WebAssembly module: where it comes from, and whether there is a browser to run it in.

import { ResError } from "./errors.js";
import load from "./relogin.js";

/** Where the WebAssembly module comes from, in place of the file beside the package's script. */
export type ModuleSource = URL | string | Request | Response | BufferSource | WebAssembly.Module;

let source: ModuleSource | undefined;
let loading: Promise<void> | undefined;
let isLoaded = false;

/**
 * Loads the WebAssembly module from `from`: for bundlers that do not find it by themselves, and pages whose
 * Content-Security-Policy wants it fetched otherwise. Call it before anything else; without it the first
 * client or session loads the file that lies beside the package's script. Where there is no browser it does
 * nothing. Rejects with `client.notLoaded`.
 */
export const init = (from?: ModuleSource): Promise<void> => {
  if (from !== undefined && !isLoaded) {
    source = from;
    loading = undefined;
  }
  return hasBrowser() ? loaded() : Promise.resolve();
};

/** The module, loaded once. A try that fails is followed by another one when somebody asks again. */
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
 * Whether this runs in a browser. Servers that render pages do not, nor do jsdom and happy-dom: they have
 * parts of one, and no database, without which no session can be kept.
 */
export const hasBrowser = (): boolean => typeof indexedDB === "object" && typeof WebSocket === "function";

/** What is asked for where there is no browser. */
export const noBrowser = (): ResError => new ResError("client.noBrowser", "this works in browsers only");

/** How long until the next try, after `failures` of them: longer each time, and never the same for all. */
export const backoff = (failures: number): number =>
  Math.min(30_000, 500 * 2 ** Math.min(failures, 8)) * (0.75 + Math.random() / 2);
