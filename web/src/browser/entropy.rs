//! Random values from the browser's cryptographic generator.

use web_sys::window;

use super::Exception;

/// `N` random bytes (`crypto.getRandomValues`).
///
/// # Errors
/// If this browsing context has no generator; browsers' windows all have one.
pub fn random<const N: usize>() -> Result<[u8; N], Exception> {
    let mut bytes = [0; N];
    let window = window().ok_or_else(|| Exception::from(wasm_bindgen::JsValue::from_str("no window")))?;
    window.crypto()?.get_random_values_with_u8_array(&mut bytes)?;
    Ok(bytes)
}
