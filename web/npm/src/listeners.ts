// Lists of listeners. Must not depend on what they listen to.

import { report } from "./errors.js";

/** A listener. What it throws is reported, and does not keep others from being called. */
export type Listener<Data, Source> = (data: Data, source: Source) => void;

type AnyListener = Listener<any, any>;

/** Names of events, separated by spaces; null: all events. */
export type Events = string | null | undefined;

/** Listeners by event. */
export class Listeners {
  #of = new Map<string | null, readonly AnyListener[]>();

  /** The number of listeners. */
  size = 0;

  add(events: Events, listener: AnyListener): void {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      this.#of.set(name, [...list, listener]);
      this.size += 1;
    }
  }

  remove(events: Events, listener: AnyListener): void {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      const at = list.indexOf(listener);
      if (at < 0) continue;
      this.size -= 1;
      if (list.length === 1) this.#of.delete(name);
      else this.#of.set(name, list.filter((_, index) => index !== at));
    }
  }

  emit(name: string, data: unknown, source?: unknown): void {
    call(this.#of.get(name), data, source);
    call(this.#of.get(null), data, source);
  }
}

/** Lists are replaced, never changed, because a listener may add and remove others. */
const call = (list: readonly AnyListener[] | undefined, data: unknown, source: unknown): void => {
  if (!list) return;
  for (const listener of list) {
    try {
      listener(data, source);
    } catch (thrown) {
      report(thrown);
    }
  }
};

const names = (events: Events): (string | null)[] =>
  events === null || events === undefined ? [null] : events.split(" ").filter(Boolean);
