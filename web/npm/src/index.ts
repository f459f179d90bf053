// The package's API: a RES client, and sessions that survive reloads and reconnects.
/// <reference lib="esnext.disposable" preserve="true" />

export { Client, type ClientOptions } from "./client.js";
export { ResError } from "./errors.js";
export type { Listener } from "./listeners.js";
export { init, type ModuleSource } from "./module.js";
export type { Binding, ConnectionState, EndReason, SessionStatus, User } from "./relogin.js";
export type { ResClientLike } from "./resclient.js";
export { Collection, Model, Reference } from "./resources.js";
export {
  type ListedSession,
  type PasswordTooShort,
  Session,
  type SessionList,
  type SessionModel,
  type SessionOptions,
  type SessionState,
} from "./session.js";
