// The page's elements: puts words into them, and tells what the user does. Text goes in as text, never as HTML.
//
// What is as it should be is not touched: a screen reader repeats what is written again.

// What the user can do, as dom.rs has it.
const SUBMITTED = 0;
const LOGOUT_PRESSED = 1;
const STEAL_PRESSED = 2;
const SECOND = 3;

// How much of what happened is kept on show.
const MAX_LINES = 100;

/** Shows nothing but `message` from now on. */
export const fail = (message) => {
  document.getElementById("start-error").textContent = message;
  document.body.dataset.view = "failed";
};

const element = (id) => {
  const found = document.getElementById(id);
  if (!found) fail(`The page is broken: it has no element "${id}".`);
  return found;
};

/** Tells from now on what the user does, and each second that goes by. */
export const listen = (tell) => {
  element("login-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tell(SUBMITTED);
  });
  element("logout").addEventListener("click", () => tell(LOGOUT_PRESSED));
  element("steal").addEventListener("click", () => tell(STEAL_PRESSED));
  setInterval(() => tell(SECOND), 1000);
};

/** Puts a text into an element. */
export const setText = (id, text) => {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text;
};

/** Sets an attribute of an element. */
export const setAttribute = (id, name, value) => {
  const target = element(id);
  if (target.getAttribute(name) !== value) target.setAttribute(name, value);
};

/** Says what is so, for style sheets. */
export const setState = (name, value) => {
  const { dataset } = document.body;
  if (dataset[name] !== value) dataset[name] = value;
};

/** Shows an element, or hides it. */
export const setHidden = (id, hidden) => {
  element(id).hidden = hidden;
};

/** "JD" for "Jane Doe". (Capitals are the style sheet's.) */
export const initials = (name) => {
  const words = name.split(/\s+/).filter(Boolean);
  return [words[0], ...words.slice(1).slice(-1)].map((word) => [...(word ?? "")].slice(0, 1)).join("");
};

// The view that the user was busy with has closed, and the one that opened had no place for them.
let adrift = false;

/** Opens a view, and takes the user along to `target`, if there is one, who was busy with the view that closes. */
export const open = (view, target) => {
  if (document.body.dataset.view === view) return;
  const follows = adrift || Boolean(document.activeElement?.closest(".view"));
  document.body.dataset.view = view;
  if (target && follows) element(target).focus();
  adrift = !target && follows;
};

/** Adds a line to what happens, and forgets the oldest. */
export const tellLine = (line) => {
  const [news, item, time, text] = [element("news"), ...["li", "time", "span"].map((name) => document.createElement(name))];
  time.textContent = new Date().toLocaleTimeString("en-GB");
  text.textContent = line;
  item.append(time, text);
  news.append(item);
  if (news.childElementCount > MAX_LINES) news.firstElementChild.remove();
  news.parentElement.scrollTop = news.parentElement.scrollHeight;
};

/** What is in a field. */
export const value = (id) => element(id).value;

/** Empties a field. */
export const clear = (id) => {
  element(id).value = "";
};

/** Puts the user into a field, to mend what is in it. */
export const mend = (id) => {
  element(id).focus();
  element(id).select();
};

/** The content of a meta element; empty if there is none. */
export const meta = (name) => document.querySelector(`meta[name='${name}']`)?.content ?? "";

/** True if the page's address has this query. */
export const isAt = (query) => location.search === query;

/** True unless the browser knows that it has no network. */
export const isOnline = () => navigator.onLine;
