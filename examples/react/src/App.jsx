import { useActionState, useEffect, useState } from "react";
import { client, session, useSession } from "./session.js";

export function App() {
  const { state, user, error } = useSession();
  if (state === "loadFailed") return <p role="alert">{error.message}</p>;
  if (state === "resuming") return null; // no form yet: a reload may stay logged in
  return user ? <Welcome user={user} /> : <Login />;
}

function Login() {
  const [failure, login, isPending] = useActionState(async (_, form) => {
    try {
      await session.login(form.get("username"), form.get("password"));
      return "";
    } catch (error) {
      return error.message;
    }
  }, "");
  return (
    <form action={login}>
      <label>Name <input name="username" autoComplete="username" required /></label>
      <label>
        Password
        <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button disabled={isPending}>Log in</button>
      <p role="alert">{failure}</p>
    </form>
  );
}

function Welcome({ user }) {
  const seconds = useSeconds();
  return (
    <main>
      <p>Logged in as <output id="user">{user.name}</output></p>
      <p>The counter is at <output id="seconds">{seconds}</output></p>
      <button id="logout" onClick={() => session.logout()}>Log out</button>
    </main>
  );
}

/** The demo's counter, which only users may see. */
function useSeconds() {
  const [seconds, setSeconds] = useState();
  useEffect(() => {
    let ticker;
    let isOver = false;
    const show = () => setSeconds(ticker.seconds);
    client.get("ticker.model").then((model) => {
      if (isOver) return;
      ticker = model.on("change", show);
      show();
    }, console.error);
    return () => {
      isOver = true;
      ticker?.off("change", show);
    };
  }, []);
  return seconds;
}
