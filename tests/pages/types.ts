// All that the package has, as TypeScript sees it: compiled, never run.
import { Client, Collection, Model, Reference, ResError, Session } from "relogin";
import type {
  EndReason,
  ListedSession,
  PasswordTooShort,
  SessionList,
  SessionState,
  User,
} from "relogin";

interface Ticker { seconds: number }

export async function resources(client: Client): Promise<number> {
  const ticker = await client.get<Model<Ticker>>("ticker.model");
  ticker.on("change", (before) => {
    const seconds: number | undefined = before.seconds;
    return seconds;
  });
  ticker.on("rang", (data) => data.bell).on("unsubscribe", (error) => error.code);
  ticker.on("live", () => {});
  const books = await client.get<Collection<Model>>("books");
  books.on("add", ({ item, idx }) => [item.title, idx]);
  for (const book of books) book.call("lend", { to: "jane" });
  const called: { id: string } = await client.call("books", "add", { title: "A" });
  const soft = books.atIndex(0)?.author as Reference;
  await soft.get();
  await client.authenticate(called.id, "method");
  client.on("state", (state) => state === "connected").on("connect", () => {});
  new Client(["wss://one.example", "wss://other.example"], { spread: 40_000 });
  // @ts-expect-error: addresses are texts.
  new Client([1]);
  client.setOnConnect(async (client) => client.call("a", "b"));
  // @ts-expect-error: there is no such state.
  client.on("state", (state) => state === "gone");
  // @ts-expect-error: values are read, and set by the service.
  ticker.props.seconds = 3;
  return ticker.props.seconds;
}

export function session(): SessionState {
  const session = new Session(new Client("/ws", { onConnect: () => {} }), { name: "session" });
  session.on("change", ({ state, user, reason }) => show(state, user, reason));
  const retryAfter = (error: ResError<{ retryAfter: number }>) => error.data?.retryAfter;
  session.login("jane", "secret").catch(retryAfter);
  const minLength = (error: ResError<PasswordTooShort>): number | undefined => error.data?.minLength;
  session.changePassword("secret", "another secret").catch(minLength);
  // @ts-expect-error: a new password is needed.
  session.changePassword("secret");
  session.logout().then(() => session.close());
  // @ts-expect-error: it is no client.
  new Session({});
  return session.state;
}

export async function sessions(session: Session): Promise<number> {
  const list: SessionList = await session.sessions();
  list.on("add", ({ item, idx }) => [item.browser, idx]);
  for (const entry of list) {
    entry.on("change", () => show(session.state, session.user, undefined));
    if (!entry.current) await session.revoke(entry.id);
    // @ts-expect-error: it is a number.
    entry.lastSeen.getTime();
  }
  const [first]: ListedSession[] = [...list];
  const ago: number = first ? Date.now() - first.lastSeen : list.length;
  // @ts-expect-error: sessions are named by their id.
  session.revoke(first);
  return ago + (await session.revokeOthers());
}

function show(state: SessionState, user: User | null, reason: EndReason | undefined): string {
  return user?.name ?? reason ?? state;
}
