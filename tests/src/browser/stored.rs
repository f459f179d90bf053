//! Reads and writes the storage record of the page, as docs/protocol.md, section 4, describes it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Browser;
use crate::DEADLINE;

impl Browser {
    /// The storage record of the session as JSON, or null.
    ///
    /// # Errors
    /// If the page cannot be asked.
    pub async fn stored(&self) -> Result<Value> {
        self.storage("read()", vec![]).await
    }

    /// The record of a session that is logged in. A page is logged in by the user model, which
    /// comes before the answer with the key: so this waits until the browser keeps one.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn stored_session(&self) -> Result<Value> {
        self.until_stored("a key", "record && record.key").await
    }

    /// Waits until what the browser keeps makes the JavaScript expression `condition` on `record`
    /// true, and answers it.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn until_stored(&self, what: &str, condition: &str) -> Result<Value> {
        let until = format!("until((record) => {condition}, args[0])");
        let mut found = self.storage(&until, vec![json!(DEADLINE.as_millis())]).await?;
        if found == false {
            bail!("{}", self.about(&format!("{what} was not stored in time")));
        }
        Ok(found["record"].take())
    }

    /// Puts a record into this browser, as if it had it from somewhere else. Key pairs cannot be
    /// had from elsewhere.
    ///
    /// # Errors
    /// If the page cannot be reached.
    pub async fn store(&self, record: &Value) -> Result<()> {
        self.storage("write(args[0])", vec![record.clone()]).await.map(drop)
    }

    async fn storage(&self, call: &str, args: Vec<Value>) -> Result<Value> {
        const CALL: &str = "const [...args] = arguments; const done = args.pop();";
        let script = format!(
            "{CALL} {} {call}.then((value) => done([value ?? null]), (error) => done(String(error)));",
            include_str!("storage.js")
        );
        let outcome = self.client.execute_async(&script, args).await;
        match outcome.with_context(|| self.about(call))? {
            Value::Array(mut value) => Ok(value.remove(0)),
            error => bail!("{}: {error}", self.about(call)),
        }
    }
}
