// What the page keeps in IndexedDB, as docs/protocol.md, section 4, says. Run inside the page.

const open = () =>
  new Promise((resolve, reject) => {
    const opening = indexedDB.open("relogin:session");
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("log", { keyPath: "at", autoIncrement: true });
      opening.result.createObjectStore("keys");
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });

// Does something with the log in one transaction; resolves to what it asked for.
const withLog = async (mode, work) => {
  const database = await open();
  try {
    const transaction = database.transaction("log", mode);
    const request = work(transaction.objectStore("log"));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return request?.result;
  } finally {
    database.close();
  }
};

const read = async () => {
  const entries = await withLog("readonly", (log) => log.getAll());
  const last = entries.reduce((head, entry) => (!head || entry.from === head.at ? entry : head), null);
  return last?.text ? JSON.parse(last.text) : null;
};

// Tells no page of it.
const write = (record) =>
  withLog("readwrite", (log) => {
    log.clear();
    log.add({ from: null, text: JSON.stringify(record) });
  });

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
