//! Short texts for the traces of states that must not be.

/// A storage record.
#[must_use]
pub fn short(record: Option<&str>) -> String {
    let Some(text) = record else { return "nothing".to_owned() };
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { return text.to_owned() };
    let attempt = json["attempt"].as_str().map(|attempt| format!(" by {}", &attempt[..4])).unwrap_or_default();
    let pending = json["pendingLogouts"].as_array().map_or(0, Vec::len);
    format!("key {}{attempt}, {pending} pending logouts", json["generation"])
}
