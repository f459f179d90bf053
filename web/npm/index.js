// Relogin in the browser: a RES client, and sessions that survive. What is what stands in index.d.ts and README.md.

export { Client } from "./client.js";
export { ResError } from "./errors.js";
export { Collection, Model, Reference } from "./resources.js";
export { Session } from "./session.js";
