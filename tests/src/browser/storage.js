// What the page keeps, as docs/protocol.md, section 4, says. Run inside the page. Reads the log,
// for localStorage lags between processes; and localStorage where there is no log yet.

// Null if there is no database.
const open = () =>
  new Promise((resolve, reject) => {
    const opening = indexedDB.open("relogin:session");
    opening.onupgradeneeded = () => opening.transaction.abort();
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => {
      if (opening.error.name === "AbortError") resolve(null);
      else reject(opening.error);
    };
  });

// Does something with the log in one transaction; resolves to the results of what it asked for.
const withLog = async (mode, work) => {
  const database = await open();
  if (!database) return [];
  try {
    const transaction = database.transaction(["entries", "texts"], mode);
    const requests = work(transaction.objectStore("entries"), transaction.objectStore("texts"));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return requests.map((request) => request.result);
  } finally {
    database.close();
  }
};

const read = async () => {
  const [entries = [], names = [], all = []] = await withLog("readonly", (entries, texts) => [
    entries.getAll(),
    texts.getAllKeys(),
    texts.getAll(),
  ]);
  const next = (head, entry) => (!head || entry.from === head.at ? entry : head);
  const last = entries.reduce(next, null);
  if (!last) return JSON.parse(localStorage.getItem("relogin:session"));
  return last.text ? JSON.parse(all[names.indexOf(last.text)]) : null;
};

// Tells no page of it.
const write = (record) => {
  localStorage.setItem("relogin:session", JSON.stringify(record));
  return withLog("readwrite", (entries, texts) => {
    entries.clear();
    texts.clear();
    texts.add(JSON.stringify(record), "written");
    return [entries.add({ from: null, text: "written", ended: [] })];
  });
};

// Resolves to the record once it is as wanted, or to false after so many milliseconds.
const until = (isWanted, patience) =>
  new Promise((resolve, reject) => {
    const channel = new BroadcastChannel("relogin:session");
    const end = (value) => {
      channel.close();
      clearTimeout(timer);
      resolve(value);
    };
    const timer = setTimeout(() => end(false), patience);
    const look = () => read().then((record) => isWanted(record) && end({ record }), reject);
    channel.onmessage = look;
    look();
  });
