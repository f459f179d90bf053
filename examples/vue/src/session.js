import { readonly, shallowRef } from "vue";
import { Client, Session } from "relogin";

export const client = new Client("ws://localhost:8080");
export const session = new Session(client); // before the client connects

const state = shallowRef(session.state);
const user = shallowRef(session.user);
const error = shallowRef(session.error);
session.on("change", () => {
  state.value = session.state;
  user.value = session.user;
  error.value = session.error;
});

/** The session's state, its user, and why it could not start. */
export const useSession = () => ({
  state: readonly(state),
  user: readonly(user),
  error: readonly(error),
});
