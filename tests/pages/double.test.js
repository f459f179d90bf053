import { expect, test } from "vitest";
import { Client, ResError, Session } from "relogin";
import { TestSession } from "relogin/testing";

test("where there is no browser, a session stays in its first state", async () => {
  const client = new Client("ws://127.0.0.1:1");
  const session = new Session(client);
  let told = 0;
  session.on("change", () => { told += 1; });
  await expect(session.login("jane", "jane")).rejects.toMatchObject({ code: "client.noBrowser" });
  await new Promise((resolve) => setTimeout(resolve));
  const changing = session.changePassword("jane", "correct horse");
  await expect(changing).rejects.toMatchObject({ code: "client.noBrowser" });
  expect([session.state, told]).toEqual(["resuming", 0]);
  session.close();
});

test("a session is what the test sets", async () => {
  const session = new TestSession();
  const seen = [];
  session.on("change", ({ state, user, reason }) => seen.push([state, user?.name, reason]));
  const jane = { id: 3, name: "Jane Doe", role: "user" };
  session.set({ state: "loggedIn", user: jane });
  expect(await session.ready).toBe("loggedIn");
  session.set({ state: "reconnecting", user: jane });
  session.set({ state: "ended", reason: "stolen" });
  await session.login("john", "");
  await session.changePassword("", "correct horse");
  await session.logout();
  session.set({ state: "loadFailed", error: new ResError("client.notLoaded") });
  expect(session.error.code).toBe("client.notLoaded");
  session.setRefreshIn(1000);
  expect(session.refreshIn).toBeGreaterThan(0);
  session.close();
  expect(session.isClosed).toBe(true);
  expect(seen).toEqual([
    ["loggedIn", "Jane Doe", undefined],
    ["reconnecting", "Jane Doe", undefined],
    ["ended", undefined, "stolen"],
    ["loggedIn", "john", undefined],
    ["ended", undefined, "loggedOut"],
    ["loadFailed", undefined, undefined],
  ]);
  session.login = () => Promise.reject(new ResError("session.wrongUsernamePassword"));
  await expect(session.login("john", "")).rejects.toThrow();
});
