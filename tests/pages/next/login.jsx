"use client";

import { useSyncExternalStore } from "react";
import { Client, Session } from "relogin";

const client = new Client("ws://localhost:8080");
const session = new Session(client);

const look = () => ({ state: session.state, user: session.user });
const first = look(); // what the server renders
let current = first;
session.on("change", () => { current = look(); });
const subscribe = (changed) => {
  session.on("change", changed);
  return () => session.off("change", changed);
};

export function Login() {
  const { state, user } = useSyncExternalStore(subscribe, () => current, () => first);
  return (
    <main>
      <p id="state">{state}</p>
      <p id="user">{user?.name}</p>
      <button id="login" onClick={() => session.login("jane", "jane")}>Log in</button>
      <button id="logout" onClick={() => session.logout()}>Log out</button>
    </main>
  );
}
