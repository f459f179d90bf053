import { useSyncExternalStore } from "react";
import { Client, Session } from "relogin";

export const client = new Client("ws://localhost:8080");
export const session = new Session(client); // before the client connects

const look = () => ({ state: session.state, user: session.user, error: session.error });
// The same object until something has changed, as React wants it.
let current = look();
session.on("change", () => { current = look(); });

const subscribe = (changed) => {
  session.on("change", changed);
  return () => session.off("change", changed);
};

/** The session's state, its user, and why it could not start. */
export const useSession = () => useSyncExternalStore(subscribe, () => current);
