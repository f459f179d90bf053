//! One text that the tabs of an origin share, and exchange by compare-and-swap.

use std::{cell::RefCell, rc::Rc};

use js_sys::Promise;
use relogin_client_proto::Secret;
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use super::database::{Database, RawDatabase};

#[wasm_bindgen(module = "/src/browser/storage.js")]
extern "C" {
    #[derive(Clone, Debug)]
    type RawStorage;

    #[wasm_bindgen(js_name = openStorage)]
    fn open_raw(name: &str, database: &RawDatabase, heard: &Closure<dyn Fn()>) -> Promise;

    #[wasm_bindgen(js_name = copyStorage)]
    fn copy_raw(name: &str) -> Promise;

    // Either at once or by a promise.
    #[wasm_bindgen(method, js_name = read)]
    fn read_raw(this: &RawStorage) -> JsValue;

    #[wasm_bindgen(method, js_name = swap)]
    fn swap_raw(this: &RawStorage, from: &JsValue, to: &JsValue) -> JsValue;

    #[wasm_bindgen(method, js_name = close)]
    fn close_raw(this: &RawStorage);
}

/// The text. Dropped, it is listened to no more.
#[derive(Debug)]
pub(super) struct Storage {
    opening: Promise,
    open: RefCell<Option<RawStorage>>,
    heard: Option<Rc<Closure<dyn Fn()>>>,
}

impl Storage {
    /// Begins to open the text called `name`, in `database` or, where that cannot be had, in
    /// localStorage. `heard` is called whenever another tab has changed it.
    pub(super) fn open(name: &str, database: &Database, heard: impl Fn() + 'static) -> Self {
        let heard = Closure::<dyn Fn()>::new(heard);
        let opening = open_raw(name, database.raw(), &heard);
        Self { opening, open: RefCell::default(), heard: Some(Rc::new(heard)) }
    }

    /// A text of this page's own, which begins with what the storage called `name` has now.
    pub(super) fn copy(name: &str) -> Self {
        Self { opening: copy_raw(name), open: RefCell::default(), heard: None }
    }

    /// What is there.
    pub(super) async fn read(&self) -> Option<Secret> {
        settled(self.opened().await?.read_raw()).await
    }

    /// Puts `to` there if `from` is there. Answers what is there then, whoever wrote it.
    pub(super) async fn swap(&self, from: Option<&Secret>, to: Option<&Secret>) -> Option<Secret> {
        let value = |text: Option<&Secret>| text.map_or(JsValue::NULL, |text| text.expose().into());
        settled(self.opened().await?.swap_raw(&value(from), &value(to))).await
    }

    async fn opened(&self) -> Option<RawStorage> {
        if let Some(open) = &*self.open.borrow() {
            return Some(open.clone());
        }
        let open: RawStorage = self.opening.clone().await.ok()?.unchecked_into();
        Some(self.open.borrow_mut().insert(open).clone())
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let (opening, heard) = (self.opening.clone(), self.heard.take());
        spawn_local(async move {
            if let Ok(open) = opening.await {
                open.unchecked_into::<RawStorage>().close_raw();
            }
            drop(heard);
        });
    }
}

async fn settled(given: JsValue) -> Option<Secret> {
    Promise::resolve(&given).await.ok()?.as_string().map(Secret::new)
}
