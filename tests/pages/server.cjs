// The same for those who require it.
"use strict";

const assert = require("node:assert/strict");
const { Client, Session } = require("relogin");
const { TestSession } = require("relogin/testing");

const session = new Session(new Client("ws://127.0.0.1:1"));
assert.equal(session.state, "resuming");
assert.equal(new TestSession({ state: "anonymous" }).state, "anonymous");
assert.equal(require("relogin/package.json").name, "relogin");
